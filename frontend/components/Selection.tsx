import type { ManyChanges, Task } from "better-tasks-client";
import { CircleCheck, Trash2, X } from "lucide-react";
import { type FormEvent, useRef } from "react";
import { flushSync } from "react-dom";
import { dueOf, timeOf, timeZone } from "@/lib/dates";
import { useKeys } from "@/lib/keys";
import { useMany, useTags } from "@/lib/tasks";
import { PRIORITIES, tagsOf } from "@/lib/words";

import { Notice } from "./Notice";
import { Options } from "./Options";

const MAX_AT_ONCE = 200; // of the API

/** The tasks that are selected, by their ids; undefined while none can be. */
export type Picked = ReadonlySet<string> | undefined;

/** Select a task, or take it out again. */
export function toggled(picked: Picked, id: string): Picked {
  const others = [...(picked ?? [])].filter((each) => each !== id);
  return new Set(picked?.has(id) || others.length === MAX_AT_ONCE ? others : [...others, id]);
}

interface Props {
  tasks: Task[];
  picked: Picked;
  setPicked: (picked: Picked) => void;
}

const focusedRow = () => document.activeElement?.closest<HTMLElement>(".task[data-id]");
const focusedId = () => focusedRow()?.dataset.id;

/** The keys of a list, and a bar for the tasks that are selected: each does all in one request. */
export function Selection({ tasks, picked, setPicked }: Props) {
  const many = useMany();
  const tags = useTags().data ?? [];
  const bar = useRef<HTMLFormElement>(null);
  const chosen = tasks.filter(({ id }) => picked?.has(id));
  const isDone = chosen.length > 0 && chosen.every(({ status }) => status === "completed");

  /** What a key is about: the tasks that are selected, else the one that has the focus. */
  const targets = () => (chosen.length ? chosen : tasks.filter(({ id }) => id === focusedId()));

  function leave() {
    if (bar.current?.contains(document.activeElement))
      document.querySelector<HTMLElement>(".title[tabindex='0']")?.focus();
    setPicked(undefined);
    many.reset();
  }

  function send(body?: ManyChanges) {
    const about = targets();
    if (!about.length || many.isPending || (body && !Object.keys(body).length)) return;
    many.mutate({ tasks: about, body }, { onSuccess: leave });
  }

  const complete = () => send({ status: isDone ? "pending" : "completed" });
  const click = (button: string) => focusedRow()?.querySelector<HTMLElement>(button)?.click();

  function move(by: number) {
    const rows = [...document.querySelectorAll<HTMLElement>(".task[data-id]")];
    const focused = focusedRow();
    const row = focused ? rows[rows.indexOf(focused) + by] : rows.find((each) => each.querySelector("[tabindex='0']"));
    row?.querySelector<HTMLElement>(".title, [name=title]")?.focus();
    return Boolean(row);
  }

  function ask(field: string) {
    const about = targets();
    if (!about.length) return;
    flushSync(() => setPicked(new Set(about.map(({ id }) => id))));
    bar.current?.querySelector<HTMLElement>(`[name=${field}]`)?.focus();
  }

  useKeys({
    "(j|ArrowDown)": () => move(1),
    "(k|ArrowUp)": () => move(-1),
    1: () => send({ priority: "high" }),
    2: () => send({ priority: "medium" }),
    3: () => send({ priority: "low" }),
    d: () => ask("day"),
    t: () => ask("tags"),
    x: () => focusedId() && setPicked(toggled(picked, focusedId() as string)),
    e: () => (chosen.length ? complete() : click(".done")),
    Delete: () => (chosen.length ? send() : click(".delete")),
    Escape: () => (picked ? leave() : false),
  });

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const { day, tags, priority } = Object.fromEntries(new FormData(event.currentTarget)) as Record<string, string>;
    const [time, ...times] = new Set(chosen.map(({ due_date }) => (due_date ? timeOf(due_date) : "")));
    send({
      // At their hour, if they have one in common.
      ...(day && { due_date: dueOf(day, times.length ? "" : (time ?? "")), time_zone: timeZone() }),
      ...(tags?.trim() && { add_tags: tagsOf(tags) }),
      ...(priority && { priority: priority as Task["priority"] }),
    });
  }

  return (
    <>
      {picked && (
        <form
          ref={bar}
          className="card bar line"
          aria-label="Selected"
          onSubmit={submit}
          onKeyDown={({ key }) => key === "Escape" && leave()}
        >
          <strong role="status">{chosen.length} selected</strong>
          <button
            className="quiet"
            type="button"
            title="Select all"
            onClick={() => setPicked(new Set(tasks.slice(0, MAX_AT_ONCE).map(({ id }) => id)))}
          >
            All
          </button>
          <button className="quiet" type="button" disabled={!chosen.length} onClick={complete}>
            <CircleCheck aria-hidden /> {isDone ? "Reopen" : "Complete"}
          </button>
          <button className="quiet" type="button" disabled={!chosen.length} onClick={() => send()}>
            <Trash2 aria-hidden /> Delete
          </button>
          <button className="quiet" type="button" aria-label="Select none" onClick={leave}>
            <X aria-hidden />
          </button>
          <div className="line">
            <input type="date" name="day" aria-label="Move to" max="9999-12-30" />
            <input name="tags" aria-label="Add tags" placeholder="Add tags" list="tags" maxLength={200} />
            <datalist id="tags">
              <Options of={Object.fromEntries(tags.map(({ name }) => [name, name]))} />
            </datalist>
            <select name="priority" aria-label="Set priority">
              <Options of={{ "": "Priority", ...PRIORITIES }} />
            </select>
            <button className="primary" type="submit" disabled={!chosen.length}>
              Change
            </button>
          </div>
        </form>
      )}
      {many.error && <Notice>{many.error.message}</Notice>}
    </>
  );
}
