import { CloudOff } from "lucide-react";

/** Tells of a lost connection as long as it is lost. */
export function ConnectionStatus({ isLost }: { isLost: boolean }) {
  // The region is always there: screen readers tell of what changes in it.
  return (
    <div role="status">
      {isLost && (
        <p className="toast lost">
          <CloudOff aria-hidden /> Connection lost. Changes will appear when it is back.
        </p>
      )}
    </div>
  );
}
