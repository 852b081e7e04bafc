import { useEffect, useState } from "react";

import { addDays, midnight, today } from "./dates";

/** Today, from midnight on the next one. */
export function useToday(): string {
  const [day, setDay] = useState(today);
  useEffect(() => {
    const look = () => setDay(today());
    const untilMidnight = midnight(addDays(day, 1)).getTime() - Date.now();
    const timer = setTimeout(look, Math.max(untilMidnight, 0) + 50);
    addEventListener("focus", look); // timers stop while a computer sleeps
    return () => {
      clearTimeout(timer);
      removeEventListener("focus", look);
    };
  }, [day]);
  return day;
}
