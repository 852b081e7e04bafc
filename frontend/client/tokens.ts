import { ApiError } from "./errors.ts";

/** Gets an access token. `fresh` says that the API has refused the last one, so that one that was kept is of no use. */
export type GetToken = (options: { fresh: boolean }) => Promise<string | null | undefined>;

interface Held {
  token: string;
  renewAt: number; // in performance.now() time: a device's wall clock can be wrong by hours
}

/** What a token says of itself, or nothing if it is no JWT. To verify it is the API's part. */
export function claimsOf(token: string): { sub?: string; iat?: number; exp?: number } {
  try {
    return JSON.parse(atob(token.split(".")[1]?.replaceAll("-", "+").replaceAll("_", "/") ?? ""));
  } catch {
    return {};
  }
}

/** Keep a token until three quarters of its life are over. In memory only, where no other script finds it next week. */
export function createTokens(getToken: GetToken) {
  let held: Held | undefined;
  let coming: Promise<Held> | undefined;
  let fresh = false;

  async function fetchToken(): Promise<Held> {
    const askedAt = performance.now();
    const token = await getToken({ fresh });
    if (!token) throw new ApiError("There is no token. Sign in first.", "NO_TOKEN");
    fresh = false;
    const { iat, exp } = claimsOf(token);
    return { token, renewAt: iat && exp ? askedAt + (exp - iat) * 750 : Number.POSITIVE_INFINITY };
  }

  return {
    /** A token that will not expire soon. Simultaneous calls share one fetch. */
    async get(): Promise<string> {
      if (!held || performance.now() > held.renewAt) {
        coming ??= fetchToken().finally(() => {
          coming = undefined;
        });
        held = await coming;
      }
      return held.token;
    },

    /** Get another one before the next request, in place of the one that was refused. */
    forget(refused = held?.token): void {
      if (held?.token !== refused) return;
      held = undefined;
      fresh = true;
    },

    /** The user that the last token was for. */
    user: () => held && claimsOf(held.token).sub,
  };
}
