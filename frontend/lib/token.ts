import { authClient } from "./auth-client";

/** The session has ended or belongs to another user: only signing in again helps. */
export class SignedOutError extends Error {}

/** Ask with the session that there is: while one page of this browser replaces or ends it alone, the others wait. */
export const withSession = async <T>(mode: LockMode, ask: () => Promise<T>) =>
  await navigator.locks.request("session", { mode }, ask);

interface Held {
  token: string;
  renewAt: number; // in performance.now() time: a browser's wall clock can be wrong by hours
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

/** Return a source of access tokens for this user only, even if another user signs in on the same page. */
export function createTokens(userId: string) {
  // In memory only: any script of this origin can read localStorage, today and next week.
  let held: Held | undefined;
  let coming: Promise<Held> | undefined;
  return {
    /** A token that will not expire soon. Simultaneous calls share one fetch. */
    async get(): Promise<string> {
      if (!held || performance.now() > held.renewAt) {
        coming ??= withSession("shared", () => fetchToken(userId)).finally(() => {
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

export type Tokens = ReturnType<typeof createTokens>;
