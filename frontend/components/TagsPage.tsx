"use client";

import type { Tag } from "better-tasks-client";
import { Trash2 } from "lucide-react";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { useColor, useRemoveTag, useRename, useTags } from "@/lib/tasks";

import { Notice } from "./Notice";

const NO_COLOR = "#808080";

/** A tag's colour. React's onChange fires for each shade under the mouse, this listener only for the final choice. */
function ColorField({ tag }: { tag: Tag }) {
  const { mutate, error } = useColor();
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const element = field.current;
    const onChange = () => element && mutate({ name: tag.name, color: element.value });
    element?.addEventListener("change", onChange);
    return () => element?.removeEventListener("change", onChange);
  }, [mutate, tag.name]);
  // After a failure, show the saved colour again.
  useEffect(() => {
    if (field.current) field.current.value = tag.color ?? NO_COLOR;
  }, [tag.color, error]);
  return (
    <>
      <input ref={field} type="color" aria-label={`Colour of ${tag.name}`} defaultValue={tag.color ?? NO_COLOR} />
      {error && <Notice>{error.message}</Notice>}
    </>
  );
}

function TagRow({ tag, others }: { tag: Tag; others: Tag[] }) {
  const rename = useRename();
  const remove = useRemoveTag();
  const [merging, setMerging] = useState("");
  const error = rename.error ?? remove.error;
  const count = `${tag.tasks} ${tag.tasks === 1 ? "task" : "tasks"}`;

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget).get("name")).trim();
    if (name === tag.name) return;
    if (others.some((other) => other.name === name) && merging !== name) setMerging(name);
    else rename.mutate({ tag: tag.name, name });
  }

  return (
    <li className="task">
      <form className="line" onSubmit={submit}>
        <ColorField tag={tag} />
        <input name="name" aria-label={`Name of ${tag.name}`} defaultValue={tag.name} maxLength={50} required />
        <small>{count}</small>
        <button type="submit">{merging ? "Merge" : "Rename"}</button>
        <button
          className="quiet delete"
          type="button"
          aria-label={`Delete the tag ${tag.name}`}
          onClick={() => remove.mutate(tag.name)}
        >
          <Trash2 aria-hidden />
        </button>
      </form>
      {merging && (
        <Notice actions={{ Cancel: () => setMerging("") }}>
          There is a tag “{merging}” already. Merge makes the two one.
        </Notice>
      )}
      {error && <Notice>{error.message}</Notice>}
    </li>
  );
}

/** All tags, to rename, colour, merge and delete them. */
export function TagsPage() {
  const { data, error, refetch } = useTags();
  return (
    <section aria-label="Tags" aria-busy={!data}>
      {error && <Notice actions={{ "Try again": () => refetch() }}>{error.message}</Notice>}
      {data?.length === 0 && <p className="empty">No tags yet. A task that has one makes it.</p>}
      {data && data.length > 0 && (
        <ul className="card tasks">
          {data.map((tag) => (
            <TagRow key={tag.name} tag={tag} others={data.filter((other) => other !== tag)} />
          ))}
        </ul>
      )}
    </section>
  );
}
