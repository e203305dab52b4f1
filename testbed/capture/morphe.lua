-- Morphe over RTP for Wireshark and tshark: the payload descriptor, the header of the unit behind
-- it, and the original sequence number of retransmissions (RFC 4588).
--
--   tshark -X lua_script:"$(testbed capture lua)" -r capture.pcapng
--
-- The ports of the testbed's captures are read as RTP (with RTCP beside it, RFC 5761). For other
-- captures choose ports with -d udp.port==PORT,rtp and payload types with
-- -o morphe.media_pt:PT -o morphe.rtx_pt:PT.
--
-- The formats are described in morphe_core/nasc/packetizer.py and morphe_core/vgc/bitstream.py.

local DESCRIPTOR_BYTES = 4
local UNIT_HEADER_BYTES = 16
local RTX_BYTES = 2
local UNIT_VERSION = 2
-- testbed/capture/datagram.py: the sender's and the receiver's.
local PORTS = { 50004, 5004 }

local morphe = Proto("morphe", "Morphe")
local morphe_rtx = Proto("morphe_rtx", "Morphe retransmission (RFC 4588)")

morphe.prefs.media_pt = Pref.uint("Payload type of media", 98, "RTP payload type, 0 to 127")
morphe.prefs.rtx_pt = Pref.uint("Payload type of retransmissions", 99, "RTP payload type, 0 to 127")

local kinds = { [0] = "tokens", [1] = "residual" }
local parts = { [0] = "I and P", [1] = "I alone", [2] = "P alone" }

local f = {
    position = ProtoField.uint16("morphe.position", "Packet of the GoP, from 0"),
    packets = ProtoField.uint16("morphe.packets", "Packets of the GoP"),
    tokens = ProtoField.uint16("morphe.tokens", "Packets with tokens"),
    starts = ProtoField.bool("morphe.starts", "A unit begins here"),
    ends = ProtoField.bool("morphe.ends", "A unit ends here"),
    unit = ProtoField.bytes("morphe.unit", "Unit, or piece of one"),
    version = ProtoField.uint8("morphe.unit.version", "Version"),
    kind = ProtoField.uint8("morphe.unit.kind", "Kind", base.DEC, kinds),
    part = ProtoField.uint8("morphe.unit.part", "Part", base.DEC, parts),
    intra = ProtoField.bool("morphe.unit.intra", "Without the GoP before"),
    gop = ProtoField.uint16("morphe.unit.gop", "GoP, modulo 65536"),
    index = ProtoField.uint8("morphe.unit.index", "Unit"),
    count = ProtoField.uint16("morphe.unit.count", "Units"),
    quality_i = ProtoField.uint8("morphe.unit.quality_i", "Quality of I"),
    quality_p = ProtoField.uint8("morphe.unit.quality_p", "Quality of P"),
    scale = ProtoField.uint8("morphe.unit.scale", "Scale"),
    frames = ProtoField.uint8("morphe.unit.frames", "Pictures"),
    backend = ProtoField.uint8("morphe.unit.backend", "Backend"),
    width = ProtoField.uint32("morphe.unit.width", "Width"),
    height = ProtoField.uint32("morphe.unit.height", "Height"),
    checksum = ProtoField.uint32("morphe.unit.checksum", "CRC-32", base.HEX),
}
local fields = {}
for _, field in pairs(f) do
    fields[#fields + 1] = field
end
morphe.fields = fields

local rtx_original = ProtoField.uint16("morphe_rtx.original_sequence", "Original sequence number")
morphe_rtx.fields = { rtx_original }

local too_short = ProtoExpert.new(
    "morphe.too_short", "No room for descriptor and unit", expert.group.MALFORMED,
    expert.severity.ERROR)
local contradiction = ProtoExpert.new(
    "morphe.contradiction", "The descriptor contradicts itself", expert.group.MALFORMED,
    expert.severity.ERROR)
morphe.experts = { too_short, contradiction }

local function add_unit(tvb, tree)
    local head = tree:add(tvb(0, UNIT_HEADER_BYTES), "Unit header")
    local first = tvb(0, 1)
    head:add(f.version, first, first:bitfield(0, 4))
    head:add(f.kind, first, first:bitfield(4, 1))
    head:add(f.part, first, first:bitfield(5, 2))
    head:add(f.intra, first, first:bitfield(7, 1) == 1)
    head:add(f.gop, tvb(1, 2))
    head:add(f.index, tvb(3, 1))
    head:add(f.count, tvb(4, 1), tvb(4, 1):uint() + 1)
    local packed = tvb(5, 3)
    if first:bitfield(4, 1) == 0 then
        head:add(f.quality_i, packed, packed:bitfield(0, 7))
        head:add(f.quality_p, packed, packed:bitfield(7, 7))
    end
    head:add(f.scale, packed, packed:bitfield(14, 2))
    head:add(f.frames, packed, packed:bitfield(16, 4) + 1)
    head:add(f.backend, packed, packed:bitfield(20, 4))
    head:add(f.width, tvb(8, 2), tvb(8, 2):uint() + 1)
    head:add(f.height, tvb(10, 2), tvb(10, 2):uint() + 1)
    head:add(f.checksum, tvb(12, 4))
end

function morphe.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "Morphe"
    local tree = root:add(morphe, tvb())
    if tvb:len() <= DESCRIPTOR_BYTES then
        tree:add_proto_expert_info(too_short)
        return tvb:len()
    end
    local word = tvb(0, DESCRIPTOR_BYTES)
    local position = word:bitfield(0, 10)
    local packets, tokens = word:bitfield(10, 10) + 1, word:bitfield(20, 10) + 1
    local starts, ends = word:bitfield(30, 1) == 1, word:bitfield(31, 1) == 1
    tree:add(f.position, word, position)
    tree:add(f.packets, word, packets)
    tree:add(f.tokens, word, tokens)
    tree:add(f.starts, word, starts)
    tree:add(f.ends, word, ends)
    tree:append_text(string.format(", packet %d of %d", position + 1, packets))
    if position >= packets or tokens > packets then
        tree:add_proto_expert_info(contradiction)
        return tvb:len()
    end
    local unit = tvb(DESCRIPTOR_BYTES)
    tree:add(f.unit, unit)
    if starts and unit:len() >= UNIT_HEADER_BYTES and unit:bitfield(0, 4) == UNIT_VERSION then
        add_unit(unit:tvb(), tree)
        pinfo.cols.info:append(string.format(", GoP=%d", unit(1, 2):uint()))
    end
    pinfo.cols.info:append(string.format(", Packet=%d/%d", position + 1, packets))
    return tvb:len()
end

function morphe_rtx.dissector(tvb, pinfo, root)
    if tvb:len() < RTX_BYTES then
        return 0
    end
    local tree = root:add(morphe_rtx, tvb(0, RTX_BYTES))
    tree:add(rtx_original, tvb(0, RTX_BYTES))
    pinfo.cols.info:append(string.format(", Repeats=%d", tvb(0, RTX_BYTES):uint()))
    if tvb:len() > RTX_BYTES then
        morphe.dissector(tvb(RTX_BYTES):tvb(), pinfo, root)
    end
    return tvb:len()
end

local payload_types = DissectorTable.get("rtp.pt")
local bound = {}

local function bind()
    for number, proto in pairs(bound) do
        payload_types:remove(number, proto)
    end
    bound = { [morphe.prefs.media_pt] = morphe, [morphe.prefs.rtx_pt] = morphe_rtx }
    for number, proto in pairs(bound) do
        payload_types:add(number, proto)
    end
end

function morphe.prefs_changed()
    bind()
end

bind()
local udp_ports, rtp = DissectorTable.get("udp.port"), Dissector.get("rtp")
for _, port in ipairs(PORTS) do
    udp_ports:add(port, rtp)
end
