"use client";

import type { NewTask as NewTaskBody, Task } from "better-tasks-client";
import { Calendar, Flag, Plus, Repeat, Tag, X } from "lucide-react";
import { type FormEvent, type KeyboardEvent, type RefObject, useEffect, useMemo, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { timeZone } from "@/lib/dates";
import { useDraft } from "@/lib/draft";
import { type Adding, useAdd, useForget, useSent } from "@/lib/outbox";
import type { parse as Parse, Part } from "@/lib/quick";

import { Notice } from "./Notice";
import { entriesOf, fill, readFields, TaskFields } from "./TaskFields";

const plain: typeof Parse = (title) => ({ title, tags: [], parts: [] });
const ICONS = { due: Calendar, rule: Repeat, tag: Tag, priority: Flag };

interface Props {
  titleField: RefObject<HTMLInputElement | null>;
  adds: Partial<NewTaskBody>; // what it has unless the form says otherwise
}

export function NewTask({ titleField, adds }: Props) {
  const add = useAdd();
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const [ignored, setIgnored] = useState<ReadonlySet<string>>(new Set()); // parts of the text that are to stay text
  const [parse, setParse] = useState<typeof Parse>();
  const [aside, setAside] = useState<Adding[]>([]);
  const sent = useSent();
  const forget = useForget();
  const form = useRef<HTMLFormElement>(null);
  const draft = useDraft<Adding["form"]>("");
  const edited = useRef<Adding>(undefined);

  const quick = useMemo(
    () => (text && parse ? parse(text, { now: new Date(), timeZone: timeZone(), ignored }) : undefined),
    [text, parse, ignored],
  );
  const ignore = (part: Part) => setIgnored((before) => new Set([...before, part.text]));

  /** Load what understands the text once there is one: of the page itself it would be a tenth. */
  const load = () =>
    import("@/lib/quick").then(
      (loaded) => flushSync(() => setParse(() => loaded.parse)),
      () => setParse(() => plain),
    );

  function onKey(event: KeyboardEvent<HTMLInputElement>) {
    const { selectionStart, selectionEnd } = event.currentTarget;
    if (event.key !== "Backspace" || event.nativeEvent.isComposing || selectionStart !== selectionEnd) return;
    const part = quick?.parts.find(({ end }) => end === selectionEnd);
    if (!part) return;
    event.preventDefault();
    ignore(part);
  }

  const drop = ({ key }: Adding) => {
    setAside((before) => before.filter((each) => each.key !== key));
    forget(({ variables }) => variables !== undefined && "key" in variables && variables.key === key);
  };

  function send(adding: Adding) {
    drop(adding);
    add.mutate(adding);
  }

  /** The content of the form, with the key of its last attempt if nothing has changed since. */
  function read(element: HTMLFormElement): Adding {
    const { title, tags, parts: _, ...said } = quick ?? { title: "", tags: [], parts: [] };
    const form = readFields(element) as NewTaskBody;
    const body = { ...form, ...said, title: title || form.title, tags: [...new Set([...(form.tags ?? []), ...tags])] };
    const before = edited.current;
    const isSame = before && JSON.stringify(before.body) === JSON.stringify(body);
    return { body, key: isSame ? before.key : crypto.randomUUID(), form: entriesOf(element) };
  }

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (!parse) return void load().then(() => form.current?.requestSubmit());
    send(read(event.currentTarget));
    // Clear the form for the next task at once, however long the answer takes.
    edited.current = undefined;
    event.currentTarget.reset();
    draft.drop();
    setText("");
    setOpen(false);
    setIgnored(new Set());
    titleField.current?.focus();
  }

  function write(element: HTMLFormElement, entries: Adding["form"]) {
    fill(element, entries);
    setText(String(Object.fromEntries(entries).title));
    draft.keep(entries);
    load();
  }

  useEffect(() => {
    const typed = draft.read();
    if (form.current && typed) write(form.current, typed);
  }, []);

  function edit(adding: Adding) {
    const element = form.current;
    if (!element) return;
    const present = read(element);
    drop(adding);
    if (present.body.title) setAside((before) => [...before, present]);
    edited.current = adding;
    setOpen(true);
    write(element, adding.form);
    titleField.current?.focus();
  }

  const refused: [Adding, string][] = [
    ...sent.flatMap(({ status, variables, error }): [Adding, string][] =>
      status === "error" && error && variables && "key" in variables ? [[variables, error.message]] : [],
    ),
    ...aside.map((adding): [Adding, string] => [adding, "You were writing it."]),
  ];
  return (
    <>
      <form
        ref={form}
        className="card new"
        onSubmit={submit}
        onFocus={load}
        onInput={(event) => draft.keep(entriesOf(event.currentTarget))}
      >
        <div className="line">
          <Plus aria-hidden />
          <input
            ref={titleField}
            name="title"
            dir="auto"
            aria-label="New task"
            placeholder="What is to be done?"
            maxLength={200}
            required
            value={text}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={onKey}
          />
          <button className="quiet" type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Less" : "More"}
          </button>
          <button className="primary" type="submit">
            Add
          </button>
        </div>
        <div className="chips" role="status" aria-label="Understood">
          {quick?.parts.map((part) => {
            const Icon = ICONS[part.kind];
            return (
              <button
                key={part.start}
                type="button"
                title={`Keep “${part.text}” as text`}
                onClick={() => {
                  ignore(part);
                  titleField.current?.focus();
                }}
              >
                <Icon aria-hidden /> {part.label} <X aria-hidden />
              </button>
            );
          })}
        </div>
        <div hidden={!open}>
          <TaskFields key={JSON.stringify(adds)} task={adds as Partial<Task>} />
        </div>
      </form>
      {refused.map(([adding, problem]) => (
        <Notice key={adding.key} actions={{ Edit: () => edit(adding), "Try again": () => send(adding) }}>
          “{adding.body.title}” was not added. {problem}
        </Notice>
      ))}
    </>
  );
}
