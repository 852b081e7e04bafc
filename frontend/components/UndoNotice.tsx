import { isChangedSince } from "better-tasks-client";
import { useEffect, useLayoutEffect, useRef, useState } from "react";

import { useKeys } from "@/lib/keys";
import { type Done, useUndo } from "@/lib/tasks";

const SHOWN_MS = 8000;

interface Props {
  done: Done;
  close: () => void;
}

/** What was just done, and Undo, for 8 s. They begin anew when the mouse or the focus leaves it. */
export function UndoNotice({ done, close }: { done: Done | undefined; close: () => void }) {
  // The region is always there: screen readers tell of what changes in it.
  return <div role="status">{done && <Offer key={done.seq} done={done} close={close} />}</div>;
}

function Offer({ done, close }: Props) {
  const undo = useUndo();
  const [hovered, setHovered] = useState(false);
  const [focused, setFocused] = useState(false);
  const box = useRef<HTMLFieldSetElement>(null);
  const cameFrom = useRef<HTMLElement>(null);
  const isHeld = hovered || focused || undo.isPending || undo.isError;
  const take = () => !undo.isPending && undo.mutate(done.seq);

  useEffect(() => {
    if (isHeld) return;
    const timer = setTimeout(close, SHOWN_MS);
    return () => clearTimeout(timer);
  }, [isHeld, close]);

  const takeOnce = () => undo.isIdle && undo.mutate(done.seq);
  useKeys({ "Control+z": takeOnce, "Meta+z": takeOnce });

  useLayoutEffect(() => {
    const element = box.current;
    return () => {
      if (element?.contains(document.activeElement)) cameFrom.current?.focus();
    };
  }, []);

  function words(): string {
    if (undo.isSuccess) return "Undone.";
    if (isChangedSince(undo.error)) return "Something has changed since then. Nothing was undone.";
    return undo.error ? `Not undone. ${undo.error.message}` : done.words;
  }

  const isOver = undo.isSuccess || isChangedSince(undo.error);
  return (
    <fieldset
      ref={box}
      className="toast"
      aria-label="Undo"
      onPointerEnter={() => setHovered(true)}
      onPointerLeave={() => setHovered(false)}
      onFocus={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) cameFrom.current = event.relatedTarget as HTMLElement;
        setFocused(true);
      }}
      onBlur={() => setFocused(false)}
    >
      <span>{words()}</span>
      {/* One button throughout, so that it keeps the focus. */}
      <button
        type="button"
        aria-keyshortcuts={undo.isIdle ? "Control+Z Meta+Z" : undefined}
        onClick={isOver ? close : take}
      >
        {isOver ? "Close" : undo.isError ? "Try again" : "Undo"}
      </button>
      {undo.isError && !isOver && (
        <button type="button" onClick={close}>
          Close
        </button>
      )}
    </fieldset>
  );
}
