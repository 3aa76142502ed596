/** A file on this machine that is to be written to a store. */
export interface LocalFile {
  path: string;
  sizeBytes: number;
  sha256: string;
}

/** A text at a store, and what tells it from later ones. */
export interface StoredText {
  text: string;
  version: string | undefined;
}

/**
 * Where a compiled form is written to. Paths are relative to what the sink was opened for. All methods throw
 * PilotlightErrors and honour the signal that it was opened with.
 */
export interface ModelSink {
  /** For messages: without credentials. */
  readonly label: string;
  /** Undefined where there is no such file. */
  readText(path: string): Promise<StoredText | undefined>;
  /**
   * Writes a file whole: nobody reads half of it.
   *
   * @returns what tells it from other content at the same place, as a source of the same store says it
   */
  putFile(path: string, file: LocalFile): Promise<string | undefined>;
  /**
   * Writes a text in the place of the one that was read before.
   *
   * @param before as `readText` gave it
   * @returns false when somebody else has written it meanwhile; where a store can't tell, the last writer wins
   */
  putText(path: string, text: string, before: StoredText | undefined): Promise<boolean>;
  /** Takes a file away; no matter whether it is there. */
  remove(path: string): Promise<void>;
}
