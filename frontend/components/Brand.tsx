import { CircleCheckBig } from "lucide-react";

export function Brand({ as: Element = "p" }: { as?: "p" | "h1" }) {
  return (
    <Element className="brand">
      <CircleCheckBig aria-hidden /> Better Tasks
    </Element>
  );
}
