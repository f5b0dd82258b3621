// A real OpenID provider for tests: node provider.mjs <redirect_uri> [plain].
// Whoever logs in as "sub|email|verified" is that person. It prints its issuer.
// With "plain" the id token holds no e-mail, as the specification has it.
import { createServer } from 'node:http'
import { Provider } from 'oidc-provider'

const [redirect, mode] = process.argv.slice(2)
const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const client = (id) => ({ client_id: id, client_secret: `${id}-secret-of-thirty-two-characters`, redirect_uris: [redirect] })
  const provider = new Provider(issuer, {
    clients: [client('manas360'), client('another')],
    claims: { email: ['email', 'email_verified'], profile: ['given_name', 'family_name', 'locale'] },
    conformIdTokenClaims: mode === 'plain',
    cookies: { keys: ['only for tests'] },
    findAccount: (_, id) => {
      const [sub, email, verified] = id.split('|')
      return {
        accountId: id,
        claims: () => ({ sub, email, email_verified: verified === 'true', given_name: 'Ravi', family_name: 'Iyer', locale: 'kn-IN' }),
      }
    },
  })
  server.on('request', provider.callback())
  console.log(issuer)
})
process.stdin.resume().on('end', () => process.exit(0)) // dies with the test
