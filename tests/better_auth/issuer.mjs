/**
 * Real Better Auth servers for the tests, one for each way it can sign a token.
 *
 * Prints one line of JSON when every token is there, then keeps serving the key sets:
 *
 *   {"secret": …,
 *    "issuers": {"EdDSA": {"url": …, "jwks_url": …, "users": [{"id", "email", "name", "token"}, …]}, …},
 *    "refused": {"session_token": …, …}}
 *
 * All servers share the secret: BETTER_AUTH_SECRET, or a random one. `refused` is what Better Auth hands
 * out that is no access token. What ends in `_jwks` is signed with the keys of the EdDSA issuer; what else
 * is a signed JWT comes from the HS256 issuer.
 *
 * The line `rotate` on stdin makes the issuer `rotation` sign with a new key, and prints
 * {"token": …, "kid": …}. The end of stdin ends the program.
 */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";
import { SignJWT, decodeProtectedHeader } from "jose";

const secret = process.env.BETTER_AUTH_SECRET || randomBytes(32).toString("hex");

/** One user's browser: it keeps the cookies and sends them back. */
class Browser {
  cookies = new Map();

  constructor(url) {
    this.url = url;
  }

  /** GET, or POST when there is a body; the JSON of the answer. */
  async request(path, body) {
    const response = await fetch(`${this.url}/api/auth${path}`, {
      method: body ? "POST" : "GET",
      headers: {
        "content-type": "application/json",
        cookie: [...this.cookies].map((pair) => pair.join("=")).join("; "),
        origin: this.url, // without it Better Auth takes a POST for a cross-site forgery
      },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      this.cookies.set(name, value);
    }
    return response.json();
  }

  async signIn(name) {
    const email = `${name.toLowerCase()}@example.test`;
    const password = randomBytes(16).toString("hex");
    await this.request("/sign-up/email", { name, email, password });
    const { user, token: sessionToken } = await this.request("/sign-in/email", { email, password });
    const { token } = await this.request("/token");
    this.sessionToken = sessionToken;
    this.user = { id: user.id, email, name, token };
  }

  cookie(name) {
    return decodeURIComponent(this.cookies.get(`better-auth.${name}`) ?? "");
  }
}

/** A server with two users signed in; `strategy` is the form of its `session_data` cookie, if it has one. */
async function start(jwtOptions, strategy) {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  const mail = {};
  const auth = betterAuth({
    baseURL: url,
    secret,
    database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
    plugins: [jwt(jwtOptions)],
    emailAndPassword: {
      enabled: true,
      sendResetPassword: async ({ token }) => void (mail.passwordReset = token),
    },
    emailVerification: {
      sendOnSignUp: true,
      sendVerificationEmail: async ({ token }) => void (mail.verification = token),
    },
    user: { changeEmail: { enabled: true } },
    // The cookie lives as long as an access token, so that its age is never what gets it refused.
    session: { cookieCache: { enabled: Boolean(strategy), strategy, maxAge: 15 * 60 } },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    logger: { disabled: true },
  });
  server.on("request", toNodeHandler(auth));

  const [ann, bob] = [new Browser(url), new Browser(url)];
  await ann.signIn("Ann"); // not both at once: each would make a first key
  await bob.signIn("Bob");
  return { url, auth, mail, ann, bob };
}

const withKeys = (alg) => ({ jwks: { keyPairConfig: { alg } } });

/** HS256 is no algorithm of the plugin, and a `sign` of one's own demands a `remoteUrl`, which nobody reads. */
const withSecret = {
  jwks: { remoteUrl: "http://127.0.0.1/none", keyPairConfig: { alg: "ES256" } },
  jwt: {
    sign: (claims) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: "HS256", typ: "JWT" })
        .sign(new TextEncoder().encode(secret)),
  },
};

const recipes = {
  EdDSA: [{ ...withKeys("EdDSA"), sessionCookieCache: true }, "jwt"],
  ES256: [withKeys("ES256")],
  ES512: [withKeys("ES512")],
  RS256: [withKeys("RS256")],
  PS256: [withKeys("PS256")],
  HS256: [withSecret, "jwt"],
  rotation: [withKeys("EdDSA")],
};

async function collectRefused({ EdDSA, HS256 }) {
  const { ann, mail } = HS256;
  const [compact, jwe] = await Promise.all([start(withSecret, "compact"), start(withSecret, "jwe")]);
  // A server can have anything signed: issuer, audience and expiry are right, but there is no subject.
  const invitation = { body: { payload: { purpose: "invitation" } } };
  const refused = {
    session_token: ann.sessionToken,
    session_cookie: ann.cookie("session_token"),
    session_data_cookie: ann.cookie("session_data"),
    session_data_cookie_compact: compact.ann.cookie("session_data"),
    session_data_cookie_jwe: jwe.ann.cookie("session_data"),
    session_data_cookie_jwks: EdDSA.ann.cookie("session_data"),
    server_signed: (await HS256.auth.api.signJWT(invitation)).token,
    server_signed_jwks: (await EdDSA.auth.api.signJWT(invitation)).token,
    verification_link: mail.verification,
  };
  await ann.request("/change-email", { newEmail: "ann.new@example.test" });
  refused.change_email_link = mail.verification;
  await ann.request("/request-password-reset", { email: ann.user.email });
  refused.password_reset = mail.passwordReset;

  for (const [kind, value] of Object.entries(refused)) {
    if (!value) throw new Error(`Better Auth did not make a ${kind}`);
  }
  return refused;
}

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function startAll() {
  const starting = Object.entries(recipes).map(async ([name, recipe]) => [name, await start(...recipe)]);
  const servers = Object.fromEntries(await Promise.all(starting));
  const refused = await collectRefused(servers);
  const issuers = {};
  for (const [name, { url, ann, bob }] of Object.entries(servers)) {
    issuers[name] = { url, jwks_url: `${url}/api/auth/jwks`, users: [ann.user, bob.user] };
  }
  print({ secret, issuers, refused });
  return servers;
}

async function rotate({ auth, ann }) {
  // As at the end of a `rotationInterval`: the next token finds its key expired, and makes a new one.
  const { adapter } = await auth.$context;
  await adapter.updateMany({ model: "jwks", where: [], update: { expiresAt: new Date() } });
  const { token } = await ann.request("/token");
  print({ token, kid: decodeProtectedHeader(token).kid });
}

process.on("uncaughtException", (error) => {
  const cause = error.cause ? ` (${error.cause.message})` : "";
  process.stderr.write(`issuer.mjs: ${error.message}${cause}\n`);
  process.exit(1);
});

let work = startAll();
createInterface({ input: process.stdin })
  .on("line", (command) => {
    work = work.then(async (servers) => {
      if (command !== "rotate") throw new Error(`unknown command: ${command}`);
      await rotate(servers.rotation);
      return servers;
    });
  })
  .on("close", () => process.exit(0));
