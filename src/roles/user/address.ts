/** Addresses that an address book holds at most. */
export const MOST_ADDRESSES = 50;

/** A postal address, as it came. */
export interface Address {
  readonly name: string;
  readonly lines: readonly string[];
  readonly city: string;
  readonly region: string;
  readonly postalCode: string;
  readonly countryCode: string;
  readonly phone: string;
}
