import type { BetterAuthOptions } from "better-auth";
import { jwt } from "better-auth/plugins";
import { SignJWT } from "jose";
import { Pool } from "pg";

const url = process.env.BETTER_AUTH_URL ?? "http://localhost:3000";
const expirationTime = process.env.JWT_EXPIRATION_TIME ?? "15m";

/** Tokens that the API verifies with the public keys at /api/auth/jwks (EdDSA, as a stock Better Auth signs). */
const byKeySet = () => jwt({ jwt: { expirationTime } });

/** Tokens that the API verifies with the secret it shares with this app (HS256). */
const bySharedSecret = () =>
  jwt({
    jwks: { remoteUrl: `${url}/none`, keyPairConfig: { alg: "ES256" } }, // required with sign, but never fetched
    jwt: {
      expirationTime,
      sign: (claims) =>
        new SignJWT(claims ?? {})
          .setProtectedHeader({ alg: "HS256", typ: "JWT" })
          .sign(new TextEncoder().encode(process.env.BETTER_AUTH_SECRET)),
    },
  });

export const options = {
  baseURL: url,
  database: new Pool({ connectionString: process.env.DATABASE_URL }),
  emailAndPassword: { enabled: true },
  plugins: [process.env.JWT_SIGNING === "secret" ? bySharedSecret() : byKeySet()],
} satisfies BetterAuthOptions;
