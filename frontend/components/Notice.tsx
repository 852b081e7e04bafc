/** What went wrong, as a sentence, and what can be done about it. */
export function Notice({ error, retry }: { error: Error; retry?: () => void }) {
  return (
    <div className="notice" role="alert">
      <span>{error.message}</span>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}
