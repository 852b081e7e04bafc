import type { Task } from "./api";
import { readable } from "./dates";

/** Labels for the values of the API. */
export const STATUSES = { pending: "To do", in_progress: "In progress", completed: "Completed" };
export const PRIORITIES = { high: "High", medium: "Medium", low: "Low" };
export const SORTS = {
  "": "Newest first",
  due_date: "Due first",
  "-priority": "Urgent first",
  title: "By title",
  "-updated_at": "Last changed first",
};
export const RULES = {
  "": "never",
  "FREQ=DAILY": "every day",
  "FREQ=WEEKLY": "every week",
  "FREQ=MONTHLY": "every month",
  "FREQ=YEARLY": "every year",
};

export function ruleInWords(rule: string): string {
  return RULES[rule as keyof typeof RULES] ?? rule;
}

/** A sentence for a request without an answer. */
export function unreachable(): string {
  return navigator.onLine
    ? "The server cannot be reached. Try again in a moment."
    : "You are offline. Nothing is lost: try again when you are back.";
}

/** The error of a Better Auth call as a sentence, or "". The client throws if no answer came. */
export async function problemOf(asked: Promise<{ error: { message?: string | undefined } | null }>): Promise<string> {
  const { error } = await asked.catch(() => ({ error: { message: "" } }));
  return error ? error.message || unreachable() : "";
}

const FIELDS = {
  title: "title",
  description: "description",
  status: "status",
  priority: "priority",
  due_date: "due date",
  recurrence_rule: "recurrence",
  tags: "tags",
};

function valueInWords(task: Task, field: keyof typeof FIELDS): string {
  if (field === "due_date") return task.due_date ? readable(task.due_date) : "none";
  if (field === "status") return STATUSES[task.status].toLowerCase();
  if (field === "recurrence_rule") return ruleInWords(task.recurrence_rule ?? "");
  return String(task[field] ?? "") || "none";
}

/** The differences between two versions of a task: “title is now …, priority is now …”. */
export function changesInWords(before: Task, now: Task): string {
  const fields = Object.keys(FIELDS) as (keyof typeof FIELDS)[];
  return fields
    .filter((field) => valueInWords(before, field) !== valueInWords(now, field))
    .map((field) => `${FIELDS[field]} is now “${valueInWords(now, field)}”`)
    .join(", ");
}
