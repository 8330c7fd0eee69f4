export interface Attempt {
  source: string;
  path?: string | undefined;
  outcome: string;
}

/** The command that puts most things right. */
export declare const SET_UP: string;

export declare class SetupError extends Error {
  constructor(
    code: string,
    summary: string,
    details?: { tried?: Attempt[]; found?: string | undefined; needed?: string; remedies?: string[] },
  );
  readonly code: string;
}

export declare function fail(error: unknown): void;
