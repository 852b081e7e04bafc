import type { Task, TaskChanges } from "@/lib/api";
import { fromLocal, toLocal } from "@/lib/dates";
import { PRIORITIES, RULES, ruleInWords, STATUSES } from "@/lib/words";

import { Options } from "./Options";

/** The fields of a task, except its title. */
export function TaskFields({ task }: { task?: Task }) {
  const rule = task?.recurrence_rule ?? "";
  return (
    <div className="fields">
      <label className="wide">
        Description
        <textarea name="description" dir="auto" maxLength={1000} rows={2} defaultValue={task?.description ?? ""} />
      </label>
      {task && (
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
        Due
        <input
          name="due_date"
          type="datetime-local"
          max="9999-12-31T23:59"
          defaultValue={task?.due_date ? toLocal(task.due_date) : ""}
        />
      </label>
      <label>
        Repeats
        <select name="recurrence_rule" defaultValue={rule}>
          <Options of={{ ...RULES, [rule]: ruleInWords(rule) }} />
        </select>
      </label>
      <label>
        Tags, with commas
        <input name="tags" defaultValue={task?.tags.join(", ") ?? ""} placeholder="home, garden" />
      </label>
    </div>
  );
}

const READ: Record<string, (text: string) => unknown> = {
  title: (text) => text,
  description: (text) => text || null,
  status: (text) => text,
  priority: (text) => text,
  due_date: (text) => (text ? fromLocal(text) : null),
  recurrence_rule: (text) => text || null,
  tags: (text) => [...new Set(text.split(",").map((name) => name.trim()))].filter(Boolean),
};

/** The values of the task's fields that the form has. */
export function readFields(form: HTMLFormElement): TaskChanges {
  const said = [...new FormData(form)].map(([name, text]) => [name, READ[name]?.(String(text).trim())]);
  return Object.fromEntries(said);
}

/** The values of a form that differ from those before. */
export function changedFields(form: HTMLFormElement, before: TaskChanges): TaskChanges {
  const same = (name: string, value: unknown) =>
    JSON.stringify(before[name as keyof TaskChanges]) === JSON.stringify(value);
  return Object.fromEntries(Object.entries(readFields(form)).filter(([name, value]) => !same(name, value)));
}
