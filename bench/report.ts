// Rounds to figures, and figures to text.
import { type Figure, type Measurement, PODTAP, median, quantile } from './measurement.js';

export interface Row {
  readonly contender: string;
  readonly median: number;
  readonly rounds: number;
  /** Against the baseline, round by round. */
  readonly ratio?: { readonly median: number; readonly lower: number; readonly upper: number };
}

export interface Result {
  readonly measurement: string;
  readonly title: string;
  readonly unit: Figure['unit'];
  readonly rows: readonly Row[];
  readonly target?: { readonly text: string; readonly met: boolean };
}

/** By contender, a list of rounds, each with its figures. */
export type Samples = ReadonlyMap<string, readonly (readonly number[])[]>;

export function results({ name, figures }: Measurement, samples: Samples): Result[] {
  return figures.map(({ title, unit, target }, index) => {
    const [baseline] = samples.values();
    const rows = [...samples].map(([contender, rounds], place): Row => {
      const values = rounds.map((round) => round[index]!);
      const row = { contender, median: median(values), rounds: values.length };
      if (samples.size === 1 || place === 0) return row;
      const ratios = values.map((value, round) => value / baseline![round]![index]!);
      return { ...row, ratio: { median: median(ratios), lower: quantile(ratios, 0.25), upper: quantile(ratios, 0.75) } };
    });
    const podtap = rows.find(({ contender }) => contender === PODTAP);
    const against = rows[0];
    const judged = target === undefined || podtap === undefined || against === undefined ? undefined : judge(target, podtap, against);
    return { measurement: name, title, unit, rows, ...(judged !== undefined && { target: judged }) };
  });
}

function judge(target: NonNullable<Figure['target']>, podtap: Row, baseline: Row): NonNullable<Result['target']> {
  if ('ratio' in target) return { text: `at most ${target.ratio.toFixed(2)} ×`, met: (podtap.ratio?.median ?? NaN) <= target.ratio };
  const text = target.more >= 1e6 ? `${target.more / 1e6} ms` : `${target.more / 1000} µs`;
  return { text: `at most ${text} more`, met: podtap.median - baseline.median <= target.more };
}

const divisors = { ns: 1, µs: 1000, ms: 1e6, number: 1, 'a second': 1 };

/** A block of lines: the title, and a line for each contender. */
export function print({ title, unit, rows, target }: Result): string {
  const value = (row: Row): string => {
    const scaled = row.median / divisors[unit];
    return unit === 'number'
      ? String(scaled)
      : unit === 'a second'
        ? `${(scaled / 1000).toFixed(0)} k`
        : `${scaled < 10 ? scaled.toFixed(2) : scaled < 100 ? scaled.toFixed(1) : scaled.toFixed(0)} ${unit}`;
  };
  if (rows.length === 1) return `${title}: ${value(rows[0]!)}`;
  const times = (ratio: number): string => (ratio < 10 ? ratio.toFixed(2) : ratio.toFixed(0));
  const lines = rows.map((row) => {
    const line = `  ${row.contender.padEnd(24)}${value(row).padStart(12)}`;
    if (row.ratio === undefined) return line;
    const { median, lower, upper } = row.ratio;
    const spread = row.rounds === 1 ? '(one round)' : `(${times(lower)} .. ${times(upper)})`;
    const goal = row.contender === PODTAP && target !== undefined ? `   ${target.text}: ${target.met ? 'met' : 'missed'}` : '';
    return `${line}${times(median).padStart(8)} ×  ${spread.padEnd(18)}${goal}`.trimEnd();
  });
  return [title, ...lines].join('\n');
}
