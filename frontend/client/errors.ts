import type { components } from "./schema.d.ts";

/** A failure: a sentence for people, and a code for programs: the API's, or `UNREACHABLE`, or `NO_TOKEN`. */
export class ApiError extends Error {
  readonly code: string | undefined;
  /** All that the API said of it. */
  readonly problem: Partial<components["schemas"]["ProblemDetails"]>;

  constructor(message: string, code?: string, { cause, ...problem }: { cause?: unknown } & ApiError["problem"] = {}) {
    super(message, { cause });
    this.name = "ApiError";
    this.code = code;
    this.problem = problem;
  }
}

const hasCode = (code: string) => (error: unknown) => error instanceof ApiError && error.code === code;
export const isConflict = hasCode("PRECONDITION_FAILED");
export const isGone = hasCode("TASK_NOT_FOUND");
export const isChangedSince = hasCode("CHANGED_SINCE");
export const isNotKept = hasCode("CHANGES_NOT_KEPT");
export const isUnreachable = hasCode("UNREACHABLE");

const PASSING = "UNREACHABLE DATABASE_UNAVAILABLE AUTH_KEYS_UNAVAILABLE OVERLOADED RATE_LIMIT_EXCEEDED".split(" ");
/** Whether the same request may well be answered a little later. */
export const isPassing = (error: unknown) => error instanceof ApiError && PASSING.includes(error.code ?? "");

/** The failure of a request that got no answer, or not the whole of it. */
export function unreachable(cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause;
  return new ApiError("The server cannot be reached. Try again in a moment.", "UNREACHABLE", { cause });
}
