import { type Api, ApiError, claimsOf, createApi } from "better-tasks-client";

import { authClient } from "./auth-client";
import { detailInWords, unreachable } from "./words";

/** The session has ended or belongs to another user: only signing in again helps. */
export class SignedOutError extends Error {}

/** Ask with the session that there is: while one page of this browser replaces or ends it alone, the others wait. */
export const withSession = async <T>(mode: LockMode, ask: () => Promise<T>) =>
  await navigator.locks.request("session", { mode }, ask);

const noAnswer = (cause: unknown) => new ApiError(unreachable(), "UNREACHABLE", { cause });

/** Return a client of the API for this user only, even if another user signs in on the same page. */
export function apiFor(userId: string, url: string): Api {
  return createApi({
    url,
    inWords: detailInWords,
    async getToken() {
      const { data, error } = await withSession("shared", () => authClient.token());
      if (error?.status === 401) throw new SignedOutError();
      if (!data) throw noAnswer(error);
      if (claimsOf(data.token).sub !== userId) throw new SignedOutError();
      return data.token;
    },
    fetch: (...request) =>
      fetch(...request).catch((cause) => {
        throw noAnswer(cause);
      }),
  });
}
