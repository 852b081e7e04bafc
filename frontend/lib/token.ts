import { type Api, ApiError, claimsOf, createApi } from "better-tasks-client";

import { authClient } from "./auth-client";
import { unreachable } from "./words";

/** The session has ended or belongs to another user: only signing in again helps. */
export class SignedOutError extends Error {}

const noAnswer = (cause: unknown) => new ApiError(unreachable(), "UNREACHABLE", { cause });

/** Return a client of the API for this user only, even if another user signs in on the same page. */
export function apiFor(userId: string, url: string): Api {
  return createApi({
    url,
    async getToken() {
      const { data, error } = await authClient.token();
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
