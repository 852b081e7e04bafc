import type { ComponentProps } from "react";

/** A field that must be filled in, below its label. */
export function Field({ label, ...field }: ComponentProps<"input"> & { label: string }) {
  return (
    <label>
      {label}
      <input required {...field} />
    </label>
  );
}
