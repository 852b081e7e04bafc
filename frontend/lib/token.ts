import { type Api, ApiError, claimsOf, createApi } from "better-tasks-client";

import { detailInWords, unreachable } from "./words";

/** The session has ended or belongs to another user: only signing in again helps. */
export class SignedOutError extends Error {}

/** Ask with the session that there is: while one page of this browser replaces or ends it alone, the others wait. */
export const withSession = async <T>(mode: LockMode, ask: () => Promise<T>) =>
  await navigator.locks.request("session", { mode }, ask);

function noAnswer(cause: unknown): never {
  throw new ApiError(unreachable(), "UNREACHABLE", { cause });
}

/** Return a client of the API for this user only, even if another user signs in on the same page. */
export function apiFor(userId: string, url: string): Api {
  return createApi({
    url,
    inWords: detailInWords,
    async getToken() {
      // Without Better Auth's client, a twentieth of the page's JavaScript, which nothing else there needs.
      const answer = await withSession("shared", () => fetch("/api/auth/token")).catch(noAnswer);
      if (answer.status === 401) throw new SignedOutError();
      if (!answer.ok) noAnswer(answer.status);
      const { token } = await answer.json().catch(noAnswer);
      if (claimsOf(token).sub !== userId) throw new SignedOutError();
      return token;
    },
    fetch: (...request) => fetch(...request).catch(noAnswer),
  });
}
