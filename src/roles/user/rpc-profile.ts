import { create } from "@bufbuild/protobuf";
import type { Address as AddressMessage } from "#gen/commerce/common/v1/address_pb.ts";
import type { UpdateProfileRequest, UserService } from "#gen/commerce/user/v1/user_pb.ts";
import {
  AddAddressRequestSchema,
  AddAddressResponseSchema,
  UpdateAddressRequestSchema,
  UpdateAddressResponseSchema,
  UpdateProfileRequestSchema,
  UpdateProfileResponseSchema,
} from "#gen/commerce/user/v1/user_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import { transaction } from "../../platform/database.ts";
import { invalidRequest } from "../../platform/errors.ts";
import type { Once } from "../../platform/idempotency.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import type { Address } from "./address.ts";
import { addAddress, replaceAddress } from "./change-address-book.ts";
import type { OwnEmailContext } from "./check-own-email.ts";
import { checkOwnEmail } from "./check-own-email.ts";
import { changeUser } from "./change-user.ts";
import { permissionsOf } from "./permission.ts";
import type { UserAnnouncements } from "./events.ts";
import { callingUser, entryToProto, userToProto } from "./rpc-messages.ts";
import type { UserTables } from "./schema.ts";
import { deleteAddress, listAddresses } from "./store-addresses.ts";
import type { UserChange } from "./store.ts";
import { getUser } from "./store.ts";

export interface ProfileRpcOptions extends OwnEmailContext {
  readonly once: Once<UserTables>;
  readonly announce: UserAnnouncements;
}

type ProfileMethods = "getProfile" | "updateProfile" | "addAddress" | "updateAddress" | "removeAddress";

/** The methods of UserService that are about the caller. */
export function createProfileRpc(options: ProfileRpcOptions): Pick<Handlers<typeof UserService>, ProfileMethods> {
  const { db, once, clock, announce } = options;
  return {
    async getProfile(_request, call) {
      const { id } = callingUser(call.subject);
      const [user, addresses] = await Promise.all([getUser(db, id), listAddresses(db, id)]);
      return {
        user: userToProto(user),
        permissions: permissionsOf(user.roles),
        addresses: addresses.map(entryToProto),
      };
    },

    async updateProfile(request, call) {
      const { id } = callingUser(call.subject);
      await checkOwnEmail(options, id, request.email, request.currentPassword, call.signal);
      const claim = claimOf(call, UpdateProfileRequestSchema, request, { omit: ["currentPassword"] });
      const outcome = await once(claim, UpdateProfileResponseSchema, async (trx) => {
        const user = await changeUser(trx, id, request.expectedVersion, parseChange(request), clock.now(), announce);
        return create(UpdateProfileResponseSchema, { user: userToProto(user) });
      });
      return answer(call, outcome);
    },

    async addAddress(request, call) {
      const { id: userId } = callingUser(call.subject);
      const address = parseAddress(request.address);
      const claim = claimOf(call, AddAddressRequestSchema, request);
      const outcome = await once(claim, AddAddressResponseSchema, async (trx) => {
        const entry = await addAddress(trx, userId, address, clock.now());
        await announce.addressPut(trx, "addressAdded", entry);
        return create(AddAddressResponseSchema, { entry: entryToProto(entry) });
      });
      return answer(call, outcome);
    },

    async updateAddress(request, call) {
      const { id: userId } = callingUser(call.subject);
      const address = parseAddress(request.address);
      const claim = claimOf(call, UpdateAddressRequestSchema, request);
      const outcome = await once(claim, UpdateAddressResponseSchema, async (trx) => {
        const entry = await replaceAddress(trx, userId, request.id.toLowerCase(), address, clock.now());
        await announce.addressPut(trx, "addressChanged", entry);
        return create(UpdateAddressResponseSchema, { entry: entryToProto(entry) });
      });
      return answer(call, outcome);
    },

    async removeAddress(request, call) {
      const { id: userId } = callingUser(call.subject);
      const id = request.id.toLowerCase();
      await transaction(db, async (trx) => {
        if (await deleteAddress(trx, userId, id)) await announce.addressRemoved(trx, userId, id, clock.now());
      });
      return {};
    },
  };
}

/** What a request changes of a user: the fields that are present. */
export function parseChange({
  email,
  displayName,
  locale,
}: Pick<UpdateProfileRequest, "email" | "displayName" | "locale">): UserChange {
  return {
    ...(email !== undefined && { email }),
    ...(displayName !== undefined && { display_name: displayName }),
    ...(locale !== undefined && { locale }),
  };
}

function parseAddress(message: AddressMessage | undefined): Address {
  if (!message) throw invalidRequest({ field: "address", description: "is required" });
  const { $typeName: _type, $unknown: _unknown, ...address } = message;
  return address;
}
