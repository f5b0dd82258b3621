// Verifies access tokens as any client would that follows RFC 9068: with jose,
// and with the library under openid-client. Prints one line of JSON a token.
import { createRemoteJWKSet, jwtVerify } from "jose";
import * as oauth from "oauth4webapi";

const [root, issuer, audience, ...tokens] = process.argv.slice(2);
const jwks = new URL("/.well-known/jwks.json", root);
const keys = createRemoteJWKSet(jwks);

for (const token of tokens) {
  const said = {};
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer, audience, typ: "at+jwt", requiredClaims: ["sub", "jti", "iat", "exp", "client_id"],
    });
    said.jose = { sub: payload.sub, alg: protectedHeader.alg };
  } catch (err) {
    said.joseError = err.code ?? String(err);
  }
  try {
    const request = new Request(root, { headers: { authorization: `Bearer ${token}` } });
    const claims = await oauth.validateJwtAccessToken({ issuer, jwks_uri: jwks.href }, request, audience, {
      [oauth.allowInsecureRequests]: true,
    });
    said.openid = { sub: claims.sub };
  } catch (err) {
    said.openidError = err.code ?? String(err);
  }
  console.log(JSON.stringify(said));
}
