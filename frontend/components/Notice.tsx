import { TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";

/** A problem or a question in one sentence, with the actions to choose from. */
export function Notice({ children, actions }: { children: ReactNode; actions?: Record<string, () => void> }) {
  return (
    <div className="notice" role="alert">
      <TriangleAlert aria-hidden />
      <span>{children}</span>
      {Object.entries(actions ?? {}).map(([words, act]) => (
        <button key={words} type="button" onClick={act}>
          {words}
        </button>
      ))}
    </div>
  );
}
