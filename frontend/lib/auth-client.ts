import { jwtClient } from "better-auth/client/plugins";
import { createAuthClient } from "better-auth/react";

import { unreachable } from "./words";

export const authClient = createAuthClient({ plugins: [jwtClient()] });

/** What is wrong with an answer of Better Auth's client, as a sentence; or nothing. It throws where none came. */
export async function problemOf(asked: Promise<{ error: { message?: string | undefined } | null }>): Promise<string> {
  const { error } = await asked.catch(() => ({ error: { message: "" } }));
  return error ? error.message || unreachable() : "";
}
