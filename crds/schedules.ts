import { Cron } from 'croner';
import { z } from 'zod';
import { fields, optional, refuse, text } from './fields.ts';

/**
 * A floor for the replicas that begins at each moment of a cron pattern and holds until another schedule of
 * the service begins: business hours are one schedule that raises the floor and one that lowers it.
 */
export const scheduleSchema = fields({
  name: optional(text(63).describe('Shown in the reason of a decision.')),
  cron: text(100).describe('When the floor begins to hold, as a cron pattern of five fields.'),
  timeZone: text(64).default('UTC').describe('IANA name of the time zone of the pattern.'),
  minReplicas: z.int().min(0).max(10_000).describe('Replicas that are kept from then on.'),
}).superRefine((schedule, context) => {
  const message = cronProblem(schedule.cron);
  if (message !== undefined) refuse(context, { refusal: 'message', message }, ['cron']);
  if (!isTimeZone(schedule.timeZone)) {
    const expected = `expected an IANA time zone such as "Europe/Zurich", got "${schedule.timeZone}"`;
    refuse(context, { refusal: 'message', message: expected }, ['timeZone']);
  }
});

function cronProblem(pattern: string): string | undefined {
  const expected = `expected a cron pattern such as "0 8 * * MON-FRI", got "${pattern}"`;
  if (pattern.trim().split(/\s+/).length !== 5) return `${expected}: it must have five fields`;
  try {
    // Construction alone neither starts a timer nor reads the clock; patterns that never match pass.
    void new Cron(pattern, { paused: true });
    return undefined;
  } catch (error) {
    return `${expected}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function isTimeZone(name: string): boolean {
  try {
    void new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
