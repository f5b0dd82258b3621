// Razorpay's own client, unchanged, against the sandbox: node razorpay.mjs BASE SHOPPORT KEY SECRET WEBHOOKSECRET
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const Razorpay = require("razorpay");
const { validatePaymentVerification } = require("razorpay/dist/utils/razorpay-utils.js");
const [base, shopPort, key_id, key_secret, hook] = process.argv.slice(2);
const r = new Razorpay({ key_id, key_secret });
r.api.rq.defaults.baseURL = base + "/razorpay";

const callbacks = [];
const shop = createServer((req, res) => {
  let body = "";
  req.on("data", (c) => (body += c));
  req.on("end", () => {
    callbacks.push({ signature: req.headers["x-razorpay-signature"], id: req.headers["x-razorpay-event-id"], body });
    res.end();
  });
});
await new Promise((up) => shop.listen(Number(shopPort), "127.0.0.1", up));
const until = async (ok) => {
  for (let i = 0; i < 400; i++) {
    if (await ok()) return;
    await new Promise((up) => setTimeout(up, 10));
  }
  throw new Error("it never came");
};
const complete = (id, outcome) =>
  fetch(base + "/checkout/" + id + "/complete", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ outcome }) }).then((a) => a.json());
const refused = (p) => p.then(() => "taken", (e) => [e.statusCode, e.error.code, e.error.description]);

const said = {};
const order = await r.orders.create({ amount: 49900, currency: "INR", receipt: "P-1", notes: { plan: "premium" } });
said.order = [order.status, order.amount_due, order.receipt, order.notes.plan, /^order_\w{14}$/.test(order.id)];
said.failed = (await complete(order.id, "FAILURE")).state;
said.attempted = (await r.orders.fetch(order.id)).status;
const { handback } = await complete(order.id, "SUCCESS");
said.handback = validatePaymentVerification({ order_id: handback.razorpay_order_id, payment_id: handback.razorpay_payment_id }, handback.razorpay_signature, key_secret);
said.paid = (await r.orders.fetch(order.id)).status;
said.byReceipt = (await r.orders.all({ receipt: "P-1" })).count;
const tried = await r.orders.fetchPayments(order.id);
said.payments = tried.items.map((p) => p.status);
const payment = await r.payments.fetch(handback.razorpay_payment_id);
said.payment = [payment.status, payment.captured, payment.fee, payment.tax, payment.order_id === order.id];

const refund = await r.payments.refund(payment.id, { amount: 10000, receipt: "R-1", speed: "normal" });
said.refund = [refund.status, refund.amount, refund.receipt];
await until(async () => (await r.refunds.fetch(refund.id)).status === "processed");
said.tooMuch = await refused(r.payments.refund(payment.id, { amount: 40000 }));
said.ofPayment = (await r.payments.fetchMultipleRefund(payment.id)).count;
said.partial = (await r.payments.fetch(payment.id)).refund_status;

const manual = await r.orders.create({ amount: 5000, currency: "INR", payment_capture: 0 });
const got = await complete(manual.id, "SUCCESS");
said.authorized = (await r.payments.fetch(got.handback.razorpay_payment_id)).status;
said.wrongCapture = await refused(r.payments.capture(got.handback.razorpay_payment_id, 4999, "INR"));
said.captured = (await r.payments.capture(got.handback.razorpay_payment_id, 5000, "INR")).status;

const link = await r.paymentLink.create({ amount: 7700, currency: "INR", reference_id: "L-1", callback_url: "http://localhost:5001/back", callback_method: "get" });
const linked = (await complete(link.order_id, "SUCCESS")).handback;
said.link = validatePaymentVerification(
  { payment_link_id: link.id, payment_link_reference_id: "L-1", payment_link_status: "paid", payment_id: linked.razorpay_payment_id },
  linked.razorpay_signature,
  key_secret,
);
const now = new Date(Date.now() + 5.5 * 3600e3); // the days of India
const recon = await r.settlements.reports({ year: now.getUTCFullYear(), month: now.getUTCMonth() + 1 });
said.recon = recon.items.map((i) => i.type + " " + i.credit + " " + i.debit + " " + i.order_receipt);

said.unknown = await refused(r.orders.fetch("order_none"));
said.tooLittle = await refused(r.orders.create({ amount: 99, currency: "INR" }));
const stranger = new Razorpay({ key_id, key_secret: "guess" });
stranger.api.rq.defaults.baseURL = base + "/razorpay";
said.wrongKey = await refused(stranger.orders.fetch(order.id));

// failed; authorized, captured, paid; refund created, processed; authorized, captured, paid; link: four
await until(async () => callbacks.length >= 13);
said.callbacks = callbacks.map((c) => JSON.parse(c.body).event).sort();
said.signed = callbacks.every((c) => Razorpay.validateWebhookSignature(c.body, c.signature, hook));
said.otherSecret = callbacks.some((c) => Razorpay.validateWebhookSignature(c.body, c.signature, "guess"));
said.ids = new Set(callbacks.map((c) => c.id)).size;
console.log(JSON.stringify(said));
process.exit(0);
