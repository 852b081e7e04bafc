import { useMutation } from "@tanstack/react-query";
import { type ReactNode, type SubmitEvent, useRef, useState } from "react";

import { Notice } from "./Notice";

type Said = Record<"name" | "password" | "next" | "others" | "days" | "format" | "row", string> & { file: File };

interface Props {
  title: string;
  about: string;
  button: string;
  look?: "danger";
  /** Do what the form says, and tell now and then how far it is; return what was done, in a sentence. */
  act: (said: Said, tell: (words: string) => void) => Promise<string>;
  children?: ReactNode;
  /** What is listed. The button of one sends the form, too, with its id as `row`. */
  rows?: { id: string; name: string; about: string; button: string | false }[] | undefined;
  /** Why it could not be listed. */
  unread?: Error | null;
}

/** A part of a page that does one thing: a form, and in words how it went. */
export function Part({ title, about, button, look, act, children, rows, unread }: Props) {
  const form = useRef<HTMLFormElement>(null);
  const result = useRef<HTMLParagraphElement>(null);
  const [progress, tell] = useState("");
  const { mutate, data, error, isPending } = useMutation({
    mutationFn: (said: Said) => act(said, tell),
    onSuccess(_, { row }) {
      const emptied = "[type=password], [type=file], [autocomplete=off]";
      for (const field of form.current?.querySelectorAll<HTMLInputElement>(emptied) ?? []) field.value = "";
      if (row) result.current?.focus(); // its button is about to go
    },
    onError: () => form.current?.querySelector("input")?.focus(),
    onSettled: () => tell(""),
  });
  const problem = error ?? unread;

  function submit(event: SubmitEvent<HTMLFormElement>) {
    event.preventDefault();
    const said = new FormData(event.currentTarget, event.nativeEvent.submitter);
    if (!isPending) mutate(Object.fromEntries(said) as unknown as Said);
  }

  return (
    <section className="card part" aria-label={title}>
      <h2>{title}</h2>
      <p>{about}</p>
      {/* post, because GET would put a password into the URL if the form is sent before the script has loaded. */}
      <form ref={form} method="post" onSubmit={submit}>
        {children}
        <button className={look} type="submit" aria-disabled={isPending}>
          {button}
        </button>
        <ul>
          {rows?.map((row) => (
            <li key={row.id}>
              <span>
                {row.name} <small>{row.about}</small>
              </span>
              {row.button && (
                <button
                  name="row"
                  value={row.id}
                  type="submit"
                  formNoValidate
                  aria-label={`${row.button}: ${row.name}`}
                >
                  {row.button}
                </button>
              )}
            </li>
          ))}
        </ul>
      </form>
      {problem && <Notice>{problem.message}</Notice>}
      <p>{progress}</p>
      <p ref={result} role="status" tabIndex={-1}>
        {data}
      </p>
    </section>
  );
}
