// An OpenID Connect provider for tests: npm's oidc-provider on a port of the kernel's, on loopback.
// Users are called as they sign in; "NAME+a+b" has the groups a and b. A line "rotate" on standard input adds a key.
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

const fixed = Number(process.argv[2]);
const file = process.argv[3]; // Its keys outlive an outage.
const key = (kid) => ({
  ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }),
  kid, use: "sig", alg: "RS256",
});
const keys = existsSync(file) ? JSON.parse(readFileSync(file)) : [key("key-1")];
const keep = () => writeFileSync(file, JSON.stringify(keys));
keep();
const account = (_ctx, id) => ({
  accountId: id,
  claims: async () => ({ sub: id, groups: id.split("+").slice(1), email: `${id.split("+")[0]}@example.com`, email_verified: true }),
});
const client = {
  redirect_uris: ["http://127.0.0.1/oauth/callback"], // With any port, as RFC 8252 has it for native clients.
  response_types: ["code"],
};
let handler;

function build(port) {
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [
      { ...client, client_id: "cli", application_type: "native", token_endpoint_auth_method: "none",
        grant_types: ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"] },
      { client_id: "robot", client_secret: "robot-secret", token_endpoint_auth_method: "client_secret_post",
        redirect_uris: [], response_types: [], grant_types: ["client_credentials"] },
    ],
    jwks: { keys },
    findAccount: account,
    claims: { openid: ["sub", "groups", "email", "email_verified"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo: (_ctx, resource) => ({ scope: "", audience: resource, accessTokenFormat: "jwt" }),
      },
    },
  });
  handler = provider.callback();
}

const server = createServer((request, response) => handler(request, response));
server.listen(fixed, "127.0.0.1", () => {
  const { port } = server.address();
  build(port);
  console.log(`ready ${port}`);
});
createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "rotate") {
    keys.unshift(key(`key-${keys.length + 1}`));
    keep();
    build(server.address().port);
    console.log("rotated");
  }
}).on("close", () => process.exit(0));
