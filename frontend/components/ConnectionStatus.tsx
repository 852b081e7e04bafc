import { isUnreachable } from "better-tasks-client";
import { CloudOff } from "lucide-react";
import { useSent } from "@/lib/outbox";
import { waitInWords } from "@/lib/words";

/** Tells of a lost connection, and of what waits for it. */
export function ConnectionStatus({ isLost }: { isLost: boolean }) {
  const waiting = useSent().filter(({ status }) => status === "pending");
  const cause = waiting.find(({ failureReason }) => failureReason)?.failureReason;
  const isStuck = waiting.length > 0 && (isLost || cause || waiting.every(({ isPaused }) => isPaused));
  // The region is always there: screen readers tell of what changes in it.
  return (
    <div role="status">
      {(isLost || isStuck) && (
        <p className="toast lost">
          <CloudOff aria-hidden />
          <span>
            {isLost && "Connection lost. Changes will appear when it is back. "}
            {isStuck && waitInWords(waiting.length)}
            {cause && !isUnreachable(cause) && ` ${cause.message}`}
          </span>
        </p>
      )}
    </div>
  );
}
