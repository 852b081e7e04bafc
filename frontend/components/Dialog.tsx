import { X } from "lucide-react";
import { type ReactNode, type RefObject, useEffect } from "react";

interface Props {
  label: string;
  children: ReactNode;
  onClose: () => void;
  ref: RefObject<HTMLDialogElement | null>;
}

/** A dialog that is open as long as it is there. */
export function Dialog({ label, children, onClose, ref }: Props) {
  useEffect(() => {
    ref.current?.showModal();
    ref.current?.querySelector("input")?.focus();
  }, [ref]);
  return (
    <dialog ref={ref} aria-label={label} onClose={onClose}>
      <form method="dialog">
        <button className="quiet" type="submit" aria-label="Close">
          <X aria-hidden />
        </button>
      </form>
      {children}
    </dialog>
  );
}
