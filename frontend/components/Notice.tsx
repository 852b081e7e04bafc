import { TriangleAlert, X } from "lucide-react";
import { type ReactNode, useLayoutEffect, useRef, useState } from "react";

interface Props {
  children: ReactNode;
  actions?: Record<string, () => void>;
  asks?: boolean; // it needs an answer: it comes into view, and has the focus until it is answered
}

/** A problem or a question in one sentence, with the actions to choose from. */
export function Notice({ children, actions = {}, asks }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [isClosed, setClosed] = useState(false);
  const hasClose = asks || ["Close", "Cancel", "Discard"].some((words) => words in actions);

  useLayoutEffect(() => {
    const [element, before] = [box.current, document.activeElement as HTMLElement | null];
    if (!asks) return;
    element?.focus({ preventScroll: true });
    element?.scrollIntoView({ block: "nearest" });
    return () => {
      if (!element?.contains(document.activeElement)) return;
      const title = element?.closest(".task")?.querySelector<HTMLElement>(".title");
      (before?.isConnected ? before : title)?.focus();
    };
  }, [asks]);

  if (isClosed) return null;
  return (
    <div ref={box} className="notice" role="alert" tabIndex={asks ? -1 : undefined}>
      <TriangleAlert aria-hidden />
      <span>{children}</span>
      {Object.entries(actions).map(([words, act]) => (
        <button key={words} type="button" onClick={act}>
          {words}
        </button>
      ))}
      {!hasClose && (
        <button className="quiet" type="button" aria-label="Close" onClick={() => setClosed(true)}>
          <X aria-hidden />
        </button>
      )}
    </div>
  );
}
