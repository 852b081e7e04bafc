import { apiKeyClient } from "@better-auth/api-key/client";
import { createAuthClient } from "better-auth/react";
import { ApiError } from "better-tasks-client";
import { parse } from "bowser";
import { SignedOutError } from "./token";
import { unreachable } from "./words";

export const account = createAuthClient({ plugins: [apiKeyClient()] });

// What Better Auth says in the words of programs, by its code.
const WORDS: Record<string, string> = {
  INVALID_PASSWORD: "That is not your password.",
  SESSION_NOT_FRESH: "You signed in more than a day ago. Sign out and in again to see this.",
};

type Failure = { status: number; message?: string | undefined; code?: string | undefined };

/** Return what a call of Better Auth answers, or throw an ApiError (or SignedOutError). */
export async function answerOf<T>(asked: Promise<{ data: T | null; error: Failure | null }>): Promise<T> {
  const { data, error } = await asked.catch(() => ({ data: null, error: { status: 0, message: "", code: "" } }));
  if (!error) return data as T;
  if (error.status === 401) throw new SignedOutError();
  throw new ApiError(WORDS[error.code ?? ""] || error.message || unreachable(), error.code);
}

/** The sessions: this one, and then the last used first. */
export async function readSessions() {
  const [here, sessions] = await Promise.all([answerOf(account.getSession()), answerOf(account.listSessions())]);
  const isHere = ({ id }: { id: string }) => id === here?.session.id;
  return sessions
    .map((session) => ({ ...session, isHere: isHere(session) }))
    .sort((one, other) => +other.isHere - +one.isHere || +other.updatedAt - +one.updatedAt);
}

/** “Firefox on Linux”. */
export function browserOf(userAgent: string | null | undefined): string {
  const { browser, os } = parse(userAgent || "none");
  return [browser.name || "An unknown browser", os.name].filter(Boolean).join(" on ");
}
