import type { Task } from "@/lib/api";
import { fromLocal, toLocal } from "@/lib/dates";

const RULES = {
  "": "never",
  "FREQ=DAILY": "every day",
  "FREQ=WEEKLY": "every week",
  "FREQ=MONTHLY": "every month",
  "FREQ=YEARLY": "every year",
};

export function ruleInWords(rule: string): string {
  return RULES[rule as keyof typeof RULES] ?? rule;
}

/** The fields of a task beside its title. */
export function TaskFields({ task }: { task?: Task }) {
  const rule = task?.recurrence_rule ?? "";
  return (
    <div className="fields">
      <label className="wide">
        Description
        <textarea name="description" maxLength={1000} rows={2} defaultValue={task?.description ?? ""} />
      </label>
      <label>
        Priority
        <select name="priority" defaultValue={task?.priority ?? "medium"}>
          <option value="low">low</option>
          <option value="medium">medium</option>
          <option value="high">high</option>
        </select>
      </label>
      <label>
        Due
        <input
          name="due_date"
          type="datetime-local"
          max="9999-12-30T23:59"
          defaultValue={task?.due_date ? toLocal(task.due_date) : ""}
        />
      </label>
      <label>
        Repeats
        <select name="recurrence_rule" defaultValue={rule}>
          {Object.entries({ ...RULES, [rule]: ruleInWords(rule) }).map(([value, words]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
      </label>
      <label>
        Tags, with commas
        <input name="tags" defaultValue={task?.tags.join(", ") ?? ""} placeholder="home, garden" />
      </label>
    </div>
  );
}

/** What a form with these fields says. */
export function readFields(form: HTMLFormElement) {
  const data = new FormData(form);
  const text = (name: string) => String(data.get(name) ?? "").trim();
  return {
    title: text("title"),
    description: text("description") || null,
    priority: text("priority") as Task["priority"],
    due_date: text("due_date") ? fromLocal(text("due_date")) : null,
    recurrence_rule: text("recurrence_rule") || null,
    tags: [
      ...new Set(
        text("tags")
          .split(",")
          .map((name) => name.trim()),
      ),
    ].filter(Boolean),
  };
}
