// PhonePe's own client, unchanged, against the sandbox: node phonepe.mjs BASE PAGE
// then waits for the callbacks on its own port and checks them with the client.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { BaseUrl } = require("pg-sdk-node/dist/common/constants/BaseUrl.js");
const sdk = require("pg-sdk-node");
const [base, shopPort] = process.argv.slice(2);
BaseUrl.SANDBOX.PG_HOST_URL = BaseUrl.SANDBOX.OAUTH_HOST_URL = base + "/apis/pg-sandbox";

const said = {};
const callbacks = [];
const shop = createServer((req, res) => {
  let body = "";
  req.on("data", (c) => (body += c));
  req.on("end", () => {
    callbacks.push({ authorization: req.headers.authorization, body });
    res.end();
  });
});
await new Promise((up) => shop.listen(Number(shopPort), "127.0.0.1", up));
const until = async (ok) => {
  for (let i = 0; i < 400; i++) {
    if (await ok()) return;
    await new Promise((r) => setTimeout(r, 10));
  }
  throw new Error("it never came");
};

const client = sdk.StandardCheckoutClient.getInstance("client", "secret", 1, sdk.Env.SANDBOX, false);
const id = randomUUID();
const request = sdk.StandardCheckoutPayRequest.builder().merchantOrderId(id).amount(49900).redirectUrl("http://localhost:5001/back").build();
const paid = await client.pay(request);
said.pay = { state: paid.state, page: paid.redirectUrl.startsWith(base + "/checkout/") };
said.reused = await client.pay(request).then(() => "taken", (e) => [e.httpStatusCode, e.code]);
said.pending = (await client.getOrderStatus(id)).state;
await fetch(paid.redirectUrl + "/complete", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"outcome":"SUCCESS"}' });
const status = await client.getOrderStatus(id, true);
said.status = { state: status.state, amount: status.amount, orderId: status.orderId === paid.orderId, rail: status.paymentDetails[0].splitInstruments[0].rail.type };
const transaction = await client.getTransactionStatus(status.paymentDetails[0].transactionId);
said.transaction = transaction.state;
said.unknown = await client.getOrderStatus("none").then(() => "found", (e) => [e.httpStatusCode, e.code]);

const refundId = randomUUID();
const refund = await client.refund(sdk.RefundRequest.builder().merchantRefundId(refundId).originalMerchantOrderId(id).amount(10000).build());
said.refund = { state: refund.state, amount: refund.amount };
await until(async () => (await client.getRefundStatus(refundId)).state === "COMPLETED");
const token = await client.createSdkOrder(sdk.CreateSdkOrderRequest.StandardCheckoutBuilder().merchantOrderId(randomUUID()).amount(100).redirectUrl("http://localhost:5001/back").build());
said.sdkOrder = { state: token.state, token: token.token.length > 20 };

await until(async () => callbacks.length >= 3);
said.callbacks = callbacks
  .map((c) => {
    const got = client.validateCallback("webhook_user", "pass123456", c.authorization, c.body);
    return JSON.parse(c.body).event + " " + got.payload.state + " " + got.payload.amount;
  })
  .sort();
try {
  client.validateCallback("webhook_user", "another123", callbacks[0].authorization, callbacks[0].body);
  said.wrongPassword = "taken";
} catch (e) {
  said.wrongPassword = e.message;
}
console.log(JSON.stringify(said));
process.exit(0);
