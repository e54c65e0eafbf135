/** Owns the name of the file in a mirror that nobody but this service writes. */
export const recordName = "leasehold-objects.json";
