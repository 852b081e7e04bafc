import type { Filters, NewTask, Task } from "better-tasks-client";
import { CalendarDays, CircleCheck, Inbox, type LucideIcon, Star } from "lucide-react";
import { addDays, dayInWords, dayOf, earliestStartOf, latestEndOf, midnight } from "./dates";

const OPEN: Filters = { status: ["pending", "in_progress"] };

/** A list with a name and an address. What it shows may depend on the day. */
export interface View {
  path: string;
  name: string;
  icon?: LucideIcon;
  empty: string;
  filters: (today: string) => Filters;
  /** Whether a task that the API lists belongs here: whole days are the reader's, wherever they end. */
  has?: (task: Task, today: string) => boolean;
  /** The heading that a task is below, where the list is in its own order. */
  heading?: (task: Task, today: string) => string;
  /** What a new task has unless it says otherwise. */
  adds?: (today: string) => Partial<NewTask>;
}

const dayOfTask = (task: Task, today: string) => (task.due_date ? dayOf(task.due_date) : today);
const onDay = (today: string) => ({ due_date: today });

export const VIEWS: View[] = [
  {
    path: "/today",
    name: "Today",
    icon: Star,
    empty: "Nothing to do today.",
    filters: (today) => ({ ...OPEN, due_before: latestEndOf(today), sort: "due_date" }),
    has: (task, today) => dayOfTask(task, today) <= today,
    heading: (task, today) => (dayOfTask(task, today) < today ? "Overdue" : "Today"),
    adds: onDay,
  },
  {
    path: "/upcoming",
    name: "Upcoming",
    icon: CalendarDays,
    empty: "Nothing is planned.",
    filters: (today) => ({ ...OPEN, due_from: earliestStartOf(today), sort: "due_date" }),
    has: (task, today) => dayOfTask(task, today) >= today,
    heading: (task, today) => headingOf(dayOfTask(task, today), today),
    adds: onDay,
  },
  { path: "/all", name: "All", icon: Inbox, empty: "Nothing to do. Add your first task above.", filters: () => OPEN },
  {
    path: "/completed",
    name: "Completed",
    icon: CircleCheck,
    empty: "Nothing is completed yet.",
    filters: () => ({ status: ["completed"], sort: "-completed_at" }),
    heading: (task, today) => headingOf(dayOf(task.completed_at ?? task.updated_at), today),
  },
];

/** A day, with its date where the words do not say it. */
function headingOf(day: string, today: string): string {
  const words = dayInWords(day);
  const named = words.charAt(0).toUpperCase() + words.slice(1);
  const isNamed = day >= addDays(today, -1) && day < addDays(today, 7);
  if (!isNamed) return midnight(day).toLocaleDateString(undefined, { dateStyle: "full" });
  return `${named} · ${midnight(day).toLocaleDateString(undefined, { day: "numeric", month: "long" })}`;
}

export const pathOfTag = (name: string) => `/tags/${encodeURIComponent(name)}`;

/** The view at an address; undefined if there is none. */
export function viewAt(path: string): View | undefined {
  const tag = path.match(/^\/tags\/([^/]+)$/)?.[1];
  if (!tag) return VIEWS.find((view) => view.path === path);
  const name = decodeURIComponent(tag);
  return {
    path,
    name,
    empty: `Nothing to do with ${name}.`,
    filters: () => ({ ...OPEN, tag: [name] }),
    adds: () => ({ tags: [name] }),
  };
}

/** What the address says beside the view, which wins over what the view says. */
export function refine(filters: Filters, search: URLSearchParams): Filters {
  const { status, ...rest } = filters;
  const refined: Record<string, unknown> = search.has("completed") ? rest : filters;
  for (const name of ["q", "sort"] as const) {
    const value = search.get(name);
    if (value) refined[name] = value;
  }
  const priority = search.get("priority");
  return { ...refined, ...(priority ? { priority: [priority] } : {}) } as Filters;
}
