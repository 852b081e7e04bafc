import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { BetterAuthPlugin, GenericEndpointContext } from "better-auth";
import { createAuthMiddleware, isAPIError } from "better-auth/api";
import { signJWT } from "better-auth/plugins";

const SESSION_REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const ACCOUNT_DISABLED = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const ACCOUNT_PURGED = "https://schemas.openid.net/secevent/risc/event-type/account-purged";

const FIRST_TRY_MS = 2000; // as long as a sign-out waits for the API
const TRY_MS = 30_000;
const LONGEST_PAUSE_MS = 30_000;
const MAX_AGE_SECONDS = 10 * 60; // the API takes no older event

let isAway = false; // the API did not answer the last time: then nobody waits for it

/** Tell the API what ends here, so that no access token outlives its session or its user (docs/api.md). */
export function securityEvents(apiUrl: string) {
  const tell = teller(`${apiUrl.replace(/\/$/, "")}/api/security-events`);
  return {
    id: "security-events",
    init: () => ({
      options: {
        databaseHooks: {
          session: { delete: { after: ({ id }, ctx) => tell(ctx, SESSION_REVOKED, { id }) } },
          user: {
            update: {
              after: async (user, ctx) => {
                if (user?.banned) await tell(ctx, ACCOUNT_DISABLED, { sub: user.id });
              },
            },
            delete: { after: ({ id }, ctx) => tell(ctx, ACCOUNT_PURGED, { sub: id }) },
          },
        },
      },
    }),
    hooks: {
      after: [
        {
          matcher: ({ path }) => path === "/api-key/delete", // its id is the `sid` of the tokens that it gave
          handler: createAuthMiddleware(async (ctx) => {
            if (!isAPIError(ctx.context.returned)) await tell(ctx, SESSION_REVOKED, { id: String(ctx.body.keyId) });
          }),
        },
        {
          matcher: ({ path }) => path === "/admin/set-user-password", // which ends no session by itself
          handler: createAuthMiddleware(async (ctx) => {
            if (isAPIError(ctx.context.returned)) return;
            const sub = String(ctx.body.userId);
            await ctx.context.internalAdapter.deleteUserSessions(sub);
            await tell(ctx, SESSION_REVOKED, { sub });
          }),
        },
      ],
    },
  } satisfies BetterAuthPlugin;
}

/** Return what sends an event about a session (`id`) or a user (`sub`). It never throws, and waits for one try at most. */
function teller(url: string) {
  return async (ctx: GenericEndpointContext | null, event: string, subject: { id: string } | { sub: string }) => {
    const name = `${event.split("/").pop()} of ${JSON.stringify(subject)}`;
    try {
      if (!ctx) throw new Error("it happened outside of a request");
      const token = await sign(ctx, event, subject);
      const report = (problem: string) => ctx.context.logger.error(`The API did not take ${name}: ${problem}`);
      const send = (timeout: number) => isSettled(url, token, timeout, report);
      const first = send(FIRST_TRY_MS);
      void first.then((settled) => (settled ? undefined : repeat(send, report)));
      if (!isAway) await first;
    } catch (error) {
      console.error(`The API was not told of ${name}: ${error}`);
    }
  };
}

/** Return a Security Event Token (RFC 8417), signed as access tokens are. */
function sign(ctx: GenericEndpointContext, event: string, subject: { id: string } | { sub: string }): Promise<string> {
  const options = ctx.context.getPlugin("jwt")?.options;
  const iss = options?.jwt?.issuer ?? new URL(ctx.context.baseURL).origin;
  const iat = Math.floor(Date.now() / 1000);
  const sub_id = "sub" in subject ? { format: "iss_sub", iss, ...subject } : { format: "opaque", ...subject };
  const payload = { iat, exp: iat + MAX_AGE_SECONDS, jti: randomUUID(), sub_id, events: { [event]: {} } };
  return signJWT(ctx, { options, payload, header: { typ: "secevent+jwt" } });
}

/** Send an event. Return whether that was the last time: the API has taken it, or never will. */
async function isSettled(url: string, token: string, timeout: number, report: (problem: string) => void) {
  try {
    const headers = { "Content-Type": "application/secevent+jwt" };
    const signal = AbortSignal.timeout(timeout);
    const answer = await fetch(url, { method: "POST", body: token, headers, signal });
    isAway = answer.status === 429 || answer.status >= 500;
    if (isAway) return false;
    if (!answer.ok) report(`${answer.status} ${(await answer.text()).slice(0, 300)}`);
    return true;
  } catch {
    isAway = true;
    return false;
  }
}

async function repeat(send: (timeout: number) => Promise<boolean>, report: (problem: string) => void): Promise<void> {
  const begun = Date.now();
  for (let pause = 500; Date.now() - begun < MAX_AGE_SECONDS * 1000; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    await sleep(pause * (0.5 + Math.random() / 2));
    if (await send(TRY_MS)) return;
  }
  report(`no answer in ${MAX_AGE_SECONDS / 60} minutes`);
}
