import type { ApiError, HistoryEntry, Task } from "better-tasks-client";
import { readable } from "./dates";
import { ruleInWords as inWords } from "./rules";

/** Labels for the values of the API. */
export const STATUSES = { pending: "To do", in_progress: "In progress", completed: "Completed" };
export const PRIORITIES = { high: "High", medium: "Medium", low: "Low" };
export const SORTS = {
  "": "In its order",
  "-created_at": "Newest first",
  due_date: "Due first",
  "-priority": "Urgent first",
  title: "By title",
  "-updated_at": "Last changed first",
};
export const RULES = {
  "": "never",
  "FREQ=DAILY": "every day",
  "FREQ=WEEKLY": "every week",
  // Not to leave out the months that have no 31st, nor the years without a 29 February.
  "FREQ=MONTHLY;SKIP=BACKWARD": "every month",
  "FREQ=YEARLY;SKIP=BACKWARD": "every year",
};

export function ruleInWords(rule: string): string {
  return rule ? inWords(rule) : RULES[""];
}

/** A sentence for a request without an answer. */
export function unreachable(): string {
  return navigator.onLine
    ? "The server cannot be reached. Try again in a moment."
    : "You are offline. Nothing is lost: try again when you are back.";
}

export const waitInWords = (count: number) => `${count} ${count === 1 ? "change waits" : "changes wait"} to be sent.`;

/** The error of a Better Auth call as a sentence, or "". The client throws if no answer came. */
export async function problemOf(asked: Promise<{ error: { message?: string | undefined } | null }>): Promise<string> {
  const { error } = await asked.catch(() => ({ error: { message: "" } }));
  return error ? error.message || unreachable() : "";
}

/** “1.5 MB”. */
export function sizeInWords(bytes: number): string {
  const [size, unit] = bytes < 1e6 ? [bytes / 1e3, "kilobyte"] : [bytes / 1e6, "megabyte"];
  return size.toLocaleString(undefined, { style: "unit", unit, maximumFractionDigits: 1 });
}

const FIELDS = {
  title: "title",
  description: "description",
  status: "status",
  priority: "priority",
  due_date: "due date",
  time_zone: "time zone",
  recurrence_rule: "recurrence",
  tags: "tags",
};

type Field = keyof typeof FIELDS;

/** What the API says of a problem, with the words of people for its fields: “Due date must …”. */
export function detailInWords(detail: string): string {
  const words = detail.replace(/[a-z]+_[a-z]+/g, (name) => FIELDS[name as Field] ?? name);
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Tags that are typed with commas. */
export const tagsOf = (text: string) => [...new Set(text.split(",").map((name) => name.trim()))].filter(Boolean);

function valueInWords(field: Field, value: unknown): string {
  if (field === "due_date" && value) return readable(String(value));
  if (field === "status") return STATUSES[value as Task["status"]].toLowerCase();
  if (field === "recurrence_rule") return ruleInWords(String(value ?? ""));
  return (Array.isArray(value) ? value.join(", ") : String(value ?? "")) || "none";
}

/** The differences between two versions of a task: “title is now …, priority is now …”. */
export function changesInWords(before: Task, now: Task): string {
  const fields = Object.keys(FIELDS) as Field[];
  return fields
    .filter((field) => valueInWords(field, before[field]) !== valueInWords(field, now[field]))
    .map((field) => `${FIELDS[field]} is now “${valueInWords(field, now[field])}”`)
    .join(", ");
}

function fieldChangeInWords(field: Field, from: unknown, to: unknown): string {
  if (field === "status" && to === "completed") return "completed";
  if (field === "status" && from === "completed") return "reopened";
  const isEmpty = (value: unknown) => value === null || String(value) === "";
  if (isEmpty(to)) return `${FIELDS[field]} removed`;
  if (isEmpty(from)) return `${FIELDS[field]} set to “${valueInWords(field, to)}”`;
  return `${FIELDS[field]} changed from “${valueInWords(field, from)}” to “${valueInWords(field, to)}”`;
}

/** What one request did to a task: “Completed, due date changed from … to …”. */
export function entryInWords({ action, changes, undoes }: HistoryEntry): string {
  const updated = (changes ?? [])
    .filter(({ field }) => field in FIELDS)
    .map(({ field, from, to }) => fieldChangeInWords(field as Field, from, to))
    .join(", ");
  const created = undoes === null ? "created" : "restored";
  const words = { created, deleted: "deleted", updated: updated || "changed" }[action];
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${undoes === null ? "" : " (undone)"}`;
}

/** Why nothing was imported: an error of a row says where, “tasks.0.title must …”. */
export function importProblem({ code, message, problem }: ApiError): string {
  const [, what, number, field, words] = problem.detail?.match(/^(task|tag)s\.(\d+)\.(\w+)\S* (.*)/) ?? [];
  const place = `In ${what} ${Number(number) + 1}, the ${FIELDS[field as Field] ?? field} ${words}`;
  const isOther = code === "INVALID_JSON" || code === "VALIDATION_ERROR";
  return `Nothing is imported. ${what ? place : isOther ? "This file is no JSON export." : message}`;
}
