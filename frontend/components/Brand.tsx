import { CircleCheckBig } from "lucide-react";

export function Brand() {
  return (
    <h1 className="brand">
      <CircleCheckBig aria-hidden /> Better Tasks
    </h1>
  );
}
