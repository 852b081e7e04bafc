import { authClient } from "./auth-client";

/** The session is over, or somebody else's by now: only signing in again helps. */
export class SignedOutError extends Error {}

interface Held {
  token: string;
  renewAt: number; // of performance.now(): the wall clock of a browser can be wrong by hours
}

async function fetchToken(userId: string): Promise<Held> {
  const askedAt = performance.now();
  const { data, error } = await authClient.token();
  if (error?.status === 401) throw new SignedOutError();
  if (!data) throw new TypeError(error?.message ?? "Better Auth did not answer");
  const payload = data.token.split(".")[1] ?? "";
  const claims = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
  if (claims.sub !== userId) throw new SignedOutError();
  return { token: data.token, renewAt: askedAt + (claims.exp - claims.iat) * 1000 * 0.75 };
}

/** Return where the access tokens of a user come from, and of nobody who signs in on the same page after them. */
export function createTokens(userId: string) {
  // In memory only: what is in localStorage, any script of this origin can read, today and next week.
  let held: Held | undefined;
  let coming: Promise<Held> | undefined;
  return {
    /** A token that will live for a while yet; however many ask at once, one is fetched. */
    async get(): Promise<string> {
      if (!held || performance.now() > held.renewAt) {
        coming ??= fetchToken(userId).finally(() => {
          coming = undefined;
        });
        held = await coming;
      }
      return held.token;
    },

    forget(): void {
      held = undefined;
    },
  };
}
