import type { PlatformApi } from '../platform-api.ts';
import type { Screen } from '../screen.ts';
import type { Stage } from '../stage.ts';
import type { TextReader } from '../text-reader.ts';

/** What each step works with. */
export interface DemoContext {
  readonly screen: Screen;
  readonly stage: Stage;
  readonly api: PlatformApi;
  readonly reader: TextReader;
  /** Process ids that served a model at any time: at zero none of them may hold one any more. */
  readonly servedPids: Set<number>;
  /** Requests that were answered, and rightly. */
  answered: number;
}

/** Notes which processes hold a model now. */
export async function noteServingPids({ api, servedPids }: DemoContext): Promise<void> {
  for (const { service, pid } of await api.replicas()) {
    if (service !== undefined && pid !== undefined) servedPids.add(pid);
  }
}
