"use client";

import { Search } from "lucide-react";
import { usePathname, useSearchParams } from "next/navigation";
import { type RefObject, useEffect, useRef, useState } from "react";

import { useRemoveCompleted, useTasks } from "@/lib/tasks";
import { PRIORITIES, SORTS } from "@/lib/words";

import { Notice } from "./Notice";
import { Options } from "./Options";

const SEARCH_DELAY_MS = 250;

/** What a list shows of its view, all of it in the address. */
export function Toolbar({ searchField, isOpen }: { searchField: RefObject<HTMLInputElement | null>; isOpen: boolean }) {
  const path = usePathname();
  const search = useSearchParams();
  const [said, setSaid] = useState(() => new URLSearchParams(search)); // at once: the address follows a moment later
  const [text, setText] = useState(said.get("q") ?? "");
  const isCompleted = path === "/completed";

  function say(name: string, value: string) {
    const next = new URLSearchParams(location.search); // which is said by now, also within the delay of a search
    if (value) next.set(name, value);
    else next.delete(name);
    setSaid(next);
    // No new page: the list is the same one.
    history.replaceState(null, "", next.size ? `${path}?${next}` : path);
  }

  useEffect(() => {
    const timer = setTimeout(() => text.trim() !== (said.get("q") ?? "") && say("q", text.trim()), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [text]);

  return (
    <section aria-label="Filters" className={isOpen ? "filters line open" : "filters line"}>
      <div className="search">
        <Search aria-hidden />
        <input
          ref={searchField}
          type="search"
          aria-label="Search"
          placeholder="Search"
          maxLength={200}
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      </div>
      <select aria-label="Sort" value={said.get("sort") ?? ""} onChange={(event) => say("sort", event.target.value)}>
        <Options of={SORTS} />
      </select>
      <select
        aria-label="Priority"
        value={said.get("priority") ?? ""}
        onChange={(event) => say("priority", event.target.value)}
      >
        <Options of={{ "": "Any priority", ...PRIORITIES }} />
      </select>
      {isCompleted ? (
        <DeleteCompleted />
      ) : (
        <label className="check">
          <input
            type="checkbox"
            checked={said.has("completed")}
            onChange={(event) => say("completed", event.target.checked ? "1" : "")}
          />
          Completed too
        </label>
      )}
    </section>
  );
}

function DeleteCompleted() {
  const remove = useRemoveCompleted();
  const question = useRef<HTMLDialogElement>(null);
  const close = () => question.current?.close();
  const completed = useTasks({ status: ["completed"], sort: "-completed_at" }); // as the list has it
  if (!completed.data?.pages[0]?.tasks.length) return null;
  return (
    <>
      <button className="quiet" type="button" onClick={() => question.current?.showModal()}>
        Delete completed
      </button>
      <dialog ref={question} aria-label="Delete completed tasks">
        <p>Delete every completed task, shown here or not?</p>
        <div className="line">
          <button type="button" onClick={close}>
            Keep them
          </button>
          <button
            className="danger"
            type="button"
            disabled={remove.isPending}
            onClick={() => remove.mutate(undefined, { onSettled: close })}
          >
            Delete
          </button>
        </div>
      </dialog>
      {remove.error && <Notice actions={{ "Try again": () => remove.mutate() }}>{remove.error.message}</Notice>}
    </>
  );
}
