import { copyJob } from "./job-copy.ts";
import { orderBatchJob, orderStatementJob, orderTransactionJob } from "./job-orders-sql.ts";
import { reserveTransactionJob } from "./job-stock-sql.ts";
import { listProductsJob, ordersStreamJob } from "./job-streams.ts";
import { unaryJob } from "./job-unary.ts";

/** What the load generator can do, by name. */
export const jobs = {
  unary: unaryJob,
  "list-products": listProductsJob,
  "orders-stream": ordersStreamJob,
  "order-statement": orderStatementJob,
  "order-transaction": orderTransactionJob,
  "order-batch": orderBatchJob,
  "reserve-transaction": reserveTransactionJob,
  copy: copyJob,
} as const;

/** A job with its options, as it is told the load generator. */
export type JobSpec = {
  [Name in keyof typeof jobs]: { readonly job: Name; readonly options: Parameters<(typeof jobs)[Name]>[0] };
}[keyof typeof jobs];
