import { apiKey } from "@better-auth/api-key";
import type { BetterAuthOptions } from "better-auth";
import { APIError } from "better-auth/api";
import { admin, type JwtOptions, jwt } from "better-auth/plugins";
import { SignJWT } from "jose";
import { Pool } from "pg";

import { canMail, mailing } from "./mail";
import { securityEvents } from "./security-events";
import { apiUrlInside as apiUrl } from "./settings";

const url = process.env.BETTER_AUTH_URL ?? "http://localhost:3000";

const tokens = {
  expirationTime: process.env.JWT_EXPIRATION_TIME ?? "15m",
  // Not the whole user: with a picture, the token may be longer than the API takes.
  definePayload: ({ user, session }) => {
    if (user.banned) throw new APIError("FORBIDDEN", { message: "You are banned." }); // which ends no API key by itself
    return {
      email: user.email,
      name: user.name,
      role: user.role,
      sid: session.id, // or an API key's id: so that the token can end with it
      act: session.impersonatedBy ? { sub: session.impersonatedBy } : undefined,
    };
  },
} satisfies JwtOptions["jwt"];

/** Tokens that the API verifies with the public keys at /api/auth/jwks (EdDSA, as a stock Better Auth signs). */
const byKeySet = () => jwt({ jwt: tokens });

/** Tokens that the API verifies with the secret it shares with this app (HS256). */
const bySharedSecret = () =>
  jwt({
    jwks: { remoteUrl: `${url}/none`, keyPairConfig: { alg: "ES256" } }, // required with sign, but never fetched
    jwt: {
      ...tokens,
      sign: (claims, header) =>
        new SignJWT(claims ?? {})
          .setProtectedHeader({ alg: "HS256", typ: "JWT", ...header })
          .sign(new TextEncoder().encode(process.env.BETTER_AUTH_SECRET)),
    },
  });

export const options = {
  baseURL: url,
  database: new Pool({ connectionString: process.env.DATABASE_URL }),
  emailAndPassword: {
    enabled: true,
    revokeSessionsOnPasswordReset: true,
    ...(canMail && {
      requireEmailVerification: true,
      sendResetPassword: mailing("Set a new password", "If you asked for a new password, set it here:"),
    }),
  },
  ...(canMail && {
    emailVerification: {
      sendVerificationEmail: mailing("Confirm your address", "Open this link to confirm that this address is yours:"),
      sendOnSignIn: true,
      autoSignInAfterVerification: true,
    },
  }),
  user: { deleteUser: { enabled: true } },
  session: { updateAge: 60 * 60 }, // how exact it is when a session was last used
  plugins: [
    process.env.JWT_SIGNING === "secret" ? bySharedSecret() : byKeySet(),
    admin(),
    apiKey({ enableSessionForAPIKeys: true, requireName: true, rateLimit: { timeWindow: 60_000, maxRequests: 60 } }),
    securityEvents(apiUrl),
  ],
} satisfies BetterAuthOptions;
