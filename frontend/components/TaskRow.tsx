"use client";

import { isGone, type Task, type TaskChanges } from "better-tasks-client";
import { Calendar, CircleDashed, Flag, Repeat, Trash2 } from "lucide-react";
import { type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from "react";

import { endOf, readable } from "@/lib/dates";
import { useDraft } from "@/lib/draft";
import { type Change, Conflict, isOf, type Sent, useChange, useForget, useRemove, withChanges } from "@/lib/outbox";
import { changesInWords, ruleInWords } from "@/lib/words";

import { History } from "./History";
import { Notice } from "./Notice";
import { changedFields, entriesOf, fill, readFields, TaskFields } from "./TaskFields";

interface Props {
  listed: Task;
  sent: Sent[]; // of this task
  colors: Map<string, string | null>;
  hold: (id: string, task: Task | undefined) => void;
  tabIndex: 0 | -1;
  isPicked: boolean | undefined; // undefined while none can be
  pick: () => void;
}

export function TaskRow({ listed, sent, colors, hold, tabIndex, isPicked, pick }: Props) {
  const task = withChanges(listed, sent) ?? listed;
  const change = useChange();
  const remove = useRemove();
  const forget = useForget();
  // The task as it was when editing began: a refetched list must not make an outdated form look current.
  const draft = useDraft<{ seen: Task; form: [string, string][] }>(listed.id);
  const [editing, setEditing] = useState<Task | undefined>(() => draft.read()?.seen);
  const [isUnsaved, setUnsaved] = useState(false); // what was typed, and Esc has closed
  const form = useRef<HTMLFormElement>(null);
  const said = useRef<TaskChanges>({});
  const row = useRef<HTMLDivElement>(null);
  const titleButton = useRef<HTMLButtonElement>(null);
  const refused = sent.filter(({ status }) => status === "error");
  const error = refused.at(-1)?.error;
  const now = error instanceof Conflict ? error.found : undefined;
  const mine = refused.flatMap(({ variables }) => (variables && "body" in variables ? [variables as Change] : []));
  const body = Object.assign({}, ...mine.map((each) => each.body)) as TaskChanges;
  const isWaiting = sent.some(({ status }) => status === "pending");
  const isEditing = Boolean(editing);
  const isBusy = isEditing && change.isPending && !change.isPaused;
  const isHeld = Boolean(isEditing || isWaiting || error || isUnsaved);

  useEffect(() => hold(listed.id, isHeld ? listed : undefined), [hold, isHeld, listed]);
  useEffect(() => () => hold(listed.id, undefined), [hold, listed.id]);

  // What has to wait is not waited for.
  useEffect(() => {
    if (!change.isPaused) return;
    setEditing(undefined);
    draft.drop();
  }, [change.isPaused, change.submittedAt]);

  useEffect(() => {
    if (!isEditing || !form.current) return;
    said.current = readFields(form.current);
    fill(form.current, draft.read()?.form ?? []);
    // Return the focus to where editing began, unless it has moved elsewhere.
    return () => {
      if (document.activeElement === document.body) titleButton.current?.focus();
    };
  }, [isEditing]);

  useLayoutEffect(() => {
    const element = row.current;
    return () => {
      if (!element?.contains(document.activeElement)) return;
      // Keep keyboard users in the list: focus the task next to the one that disappears.
      const rows = [...document.querySelectorAll(".task[data-id]")];
      const place = rows.indexOf(element);
      (rows[place + 1] ?? rows[place - 1])?.querySelector<HTMLElement>(".title")?.focus();
    };
  }, []);

  function close() {
    setEditing(undefined);
    setUnsaved(false);
    draft.drop();
    forget((each) => isOf(task, each));
  }

  const edit = () => setEditing(draft.read()?.seen ?? task);

  /** Close the form, and keep what was typed. */
  function leave() {
    if (!form.current || !Object.keys(changedFields(form.current, said.current)).length) return close();
    setEditing(undefined);
    setUnsaved(true);
  }

  function make(seen: Task, changes: TaskChanges) {
    forget((each) => isOf(task, each));
    change.mutate({ task: { ...seen, id: task.id }, body: changes }, isEditing ? { onSuccess: close } : {});
  }

  /** Send the current content of the form, or without a form, the same change again. */
  function save(seen: Task, changes: TaskChanges = {}) {
    if (form.current && !form.current.reportValidity()) return;
    // Only changed fields: the form shows a due date without seconds, and in the browser's offset.
    make(seen, form.current ? changedFields(form.current, said.current) : changes);
  }

  function removeIt() {
    forget((each) => isOf(task, each));
    remove.mutate({ task: now ?? task });
  }

  function notice() {
    if (isUnsaved && !isEditing)
      return <Notice actions={{ "Go on": edit, Discard: close }}>What you typed is not saved yet.</Notice>;
    if (isWaiting || !error) return null;
    if (isGone(error)) return <Notice actions={{ Close: close }}>This task was deleted meanwhile.</Notice>;
    if (now && mine[0])
      return (
        <Notice asks actions={{ "Keep theirs": close, "Keep mine": () => save(now, body) }}>
          This task was changed meanwhile: {changesInWords(mine[0].task, now)}. Which one shall it be?
        </Notice>
      );
    if (now)
      return (
        <Notice asks actions={{ "Keep it": close, "Delete it": removeIt }}>
          This task was changed meanwhile, and is not deleted.
        </Notice>
      );
    const again = mine[0] ? () => save(mine[0]?.task ?? task, body) : removeIt;
    return <Notice actions={{ Close: close, "Try again": again }}>{error.message}</Notice>;
  }

  const completed = task.status === "completed";
  const complete = () => make(task, { status: completed ? "pending" : "completed" });
  const isLate = task.due_date && !completed && endOf(task.due_date) < new Date();
  return (
    <div ref={row} data-id={task.id} className={`task${completed ? " completed" : ""}${isPicked ? " picked" : ""}`}>
      {editing ? (
        <form
          ref={form}
          onInput={(event) => draft.keep({ seen: editing, form: entriesOf(event.currentTarget) })}
          onSubmit={(event) => {
            event.preventDefault();
            save(editing);
          }}
          onKeyDown={(event: KeyboardEvent) =>
            event.key === "Escape" && !event.nativeEvent.isComposing && !isBusy && leave()
          }
        >
          <input
            name="title"
            dir="auto"
            aria-label="Title"
            defaultValue={editing.title}
            maxLength={200}
            required
            // biome-ignore lint/a11y/noAutofocus: the user asked to edit
            autoFocus
          />
          <TaskFields task={editing} />
          <div className="line">
            <button className="primary" type="submit" disabled={isBusy}>
              Save
            </button>
            <button type="button" disabled={isBusy} onClick={close}>
              Cancel
            </button>
          </div>
          {task.user_id && <History id={task.id} />}
        </form>
      ) : (
        <div className="line">
          {/* One checkbox for both, so that it keeps the focus. */}
          <label>
            <input
              type="checkbox"
              className={isPicked === undefined ? `done ${task.priority}` : "pick"}
              aria-label={isPicked === undefined ? `${task.title} is completed` : `Select ${task.title}`}
              checked={isPicked ?? completed}
              tabIndex={tabIndex}
              onChange={isPicked === undefined ? complete : pick}
            />
          </label>
          <div className="what">
            <button
              ref={titleButton}
              className="title"
              dir="auto"
              type="button"
              title="Edit"
              tabIndex={tabIndex}
              onClick={edit}
            >
              {task.title}
            </button>
            {task.description && <p dir="auto">{task.description}</p>}
            <p className="facts">
              {task.priority !== "medium" && (
                <span className={task.priority}>
                  <Flag aria-hidden /> {task.priority} priority
                </span>
              )}
              {task.status === "in_progress" && (
                <span>
                  <CircleDashed aria-hidden /> in progress
                </span>
              )}
              {task.due_date && (
                <time dateTime={task.due_date} className={isLate ? "late" : ""}>
                  <Calendar aria-hidden /> {isLate ? "was due" : "due"} {readable(task.due_date)}
                </time>
              )}
              {task.recurrence_rule && (
                <span>
                  <Repeat aria-hidden /> repeats {ruleInWords(task.recurrence_rule)}
                </span>
              )}
              {task.tags.map((name) => (
                <span key={name} className="tag" style={{ "--color": colors.get(name) ?? undefined } as object}>
                  {name}
                </span>
              ))}
            </p>
          </div>
          {(isWaiting || !task.user_id) && <small className="unsent">not sent yet</small>}
          <button
            className="quiet delete"
            type="button"
            aria-label={`Delete ${task.title}`}
            tabIndex={tabIndex}
            onClick={removeIt}
          >
            <Trash2 aria-hidden />
          </button>
        </div>
      )}
      {notice()}
    </div>
  );
}
