import type { Task, TaskChanges } from "better-tasks-client";
import { useRef } from "react";
import { dayOf, dueOf, timeOf, timeZone } from "@/lib/dates";
import { PRIORITIES, RULES, ruleInWords, STATUSES, tagsOf } from "@/lib/words";

import { Options } from "./Options";

/** The fields of a task, except its title. */
export function TaskFields({ task }: { task?: Partial<Task> }) {
  const rule = task?.recurrence_rule ?? "";
  const due = task?.due_date ?? "";
  const on = due && dayOf(due);
  const day = useRef<HTMLInputElement>(null);
  return (
    <div className="fields">
      <label className="wide">
        Description
        <textarea name="description" dir="auto" maxLength={1000} rows={2} defaultValue={task?.description ?? ""} />
      </label>
      {task?.status && (
        <label>
          Status
          <select name="status" defaultValue={task.status}>
            <Options of={STATUSES} />
          </select>
        </label>
      )}
      <label>
        Priority
        <select name="priority" defaultValue={task?.priority ?? "medium"}>
          <Options of={PRIORITIES} />
        </select>
      </label>
      <label>
        Due on
        <input
          ref={day}
          name="day"
          type="date"
          max="9999-12-31"
          required={rule !== ""}
          defaultValue={on.length > 10 ? "" : on} // here it is in the year 10000
        />
      </label>
      <label>
        At
        <input name="time" type="time" defaultValue={due && timeOf(due)} />
      </label>
      <label>
        Repeats
        <select
          name="recurrence_rule"
          defaultValue={rule}
          onChange={({ target }) => {
            if (day.current) day.current.required = target.value !== ""; // a rule needs a day to begin with
          }}
        >
          <Options of={{ ...RULES, [rule]: ruleInWords(rule) }} />
        </select>
      </label>
      <label>
        Tags, with commas
        <input name="tags" defaultValue={task?.tags?.join(", ") ?? ""} placeholder="home, garden" />
      </label>
    </div>
  );
}

/** What is in the fields of a form, to fill them with it again. */
export const entriesOf = (form: HTMLFormElement) => [...new FormData(form)] as [name: string, text: string][];

export function fill(form: HTMLFormElement, entries: [name: string, text: string][]): void {
  for (const [name, text] of entries) {
    const field = form.elements.namedItem(name);
    if (field && "value" in field) field.value = text;
  }
}

const READ: Record<string, (text: string) => unknown> = {
  title: (text) => text,
  description: (text) => text || null,
  status: (text) => text,
  priority: (text) => text,
  recurrence_rule: (text) => text || null,
  tags: tagsOf,
};

/** The values of the task's fields that the form has. */
export function readFields(form: HTMLFormElement): TaskChanges {
  const { day, time, ...texts } = Object.fromEntries(new FormData(form)) as Record<string, string>;
  const said = Object.entries(texts).map(([name, text]) => [name, READ[name]?.(text.trim())]);
  const due = day ? { due_date: dueOf(day, time ?? ""), time_zone: timeZone() } : { due_date: null, time_zone: null };
  return { ...Object.fromEntries(said), ...due };
}

/** The values of a form that differ from those before. */
export function changedFields(form: HTMLFormElement, before: TaskChanges): TaskChanges {
  const same = (name: string, value: unknown) =>
    JSON.stringify(before[name as keyof TaskChanges]) === JSON.stringify(value);
  return Object.fromEntries(Object.entries(readFields(form)).filter(([name, value]) => !same(name, value)));
}
