"""Asks a board with the `serial` firmware to run images: the desktop's side of serial.c."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from codegen.device.frames import PAYLOAD, REPLY, VERSION, Decoder, Frame
from codegen.device.port import Line
from codegen.errors import ThumbnetError
from codegen.ir import Int8Array

_HELLO = struct.Struct("<9I")
_ROW = struct.Struct("<HH")
_LIST = struct.Struct("<HH")
_FINISHED = struct.Struct("<IQ")
_NOT_UNDERSTOOD = 0xFE
_REFUSED = 0xFF
_HAS_LAYER_CRCS = 1

_ATTEMPTS = 100
_HELLO_PATIENCE = 10.0
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 10.0
"""Seconds without a byte after which a request is sent again: doubled each time."""
_SILENCE = 0.4
"""Seconds of silence after which no more of a frame comes."""
_PIECE = PAYLOAD - _ROW.size
_SMALLEST_PIECE = 16
_PIECE_GROWS = 4
"""Bytes by which a piece is larger than the one before it, when that went well."""
_FAULT = re.compile(rb"thumbnet fault ([^\n]*)\n")


class Request(IntEnum):
    """Codes of requests."""

    HELLO = 1
    BEGIN = 2
    ROW = 3
    FINISH = 4
    OUTPUT = 5
    LAYER_CRCS = 6
    STAGE_CYCLES = 7


@dataclass(frozen=True)
class Hello:
    """What the firmware says of itself: sizes in bytes, clock in Hz.

    Attributes:
        has_layer_crcs: It is a checking build.
        clock_hz: Cycles a second.
        arena: Working memory of the model.
        rows: Of the input.
        row_bytes: Of a row of the input.
        output_bytes: Of the output.
        layers: Of the network.
        stages: Of the plan.
        stack: That is reserved.
        name: Of the model.
    """

    has_layer_crcs: bool
    clock_hz: int
    arena: int
    rows: int
    row_bytes: int
    output_bytes: int
    layers: int
    stages: int
    stack: int
    name: str


@dataclass(frozen=True, eq=False)
class DeviceRun:
    """One inference on the device.

    Attributes:
        output: int8 [output bytes].
        stack: Bytes of stack used at most since the reset, by everything.
        cycles: Of the calls of the model, without the serial port.
        stage_cycles: Of each stage of the plan.
        layer_crcs: CRC-32 of all rows of each layer; None from a production build.
    """

    output: Int8Array
    stack: int
    cycles: int
    stage_cycles: tuple[int, ...]
    layer_crcs: tuple[int, ...] | None


class Device:
    """A board that answers.

    A request that is lost or damaged on the way, or whose answer is, is sent again under the same
    number; the firmware does nothing twice. Pieces get smaller on a line that damages many.
    """

    def __init__(
        self,
        line: Line,
        patience: float = 120.0,
        explain_fault: Callable[[str], str] = str,
    ) -> None:
        """Says hello.

        Args:
            line: To the board.
            patience: Seconds that the board may be silent: more than its longest computation.
            explain_fault: Turns the fields of a fault into words.

        Raises:
            ThumbnetError: Nothing answers, or something else than this firmware.
        """
        self._line = line
        self._patience = patience
        self._explain_fault = explain_fault
        self._decoder = Decoder()
        self._sequence = time.monotonic_ns() & 0xFF
        self._piece = _PIECE
        self.resent = 0
        """Requests that had to be sent again."""
        self.hello = self._say_hello()

    def run(self, image: Int8Array) -> DeviceRun:
        """Runs one image, which goes to the device row by row.

        Args:
            image: int8, as many bytes as the model's input has.

        Raises:
            ThumbnetError: The image is of another size, the device does not answer or reports a
                fault.
        """
        hello, data = self.hello, np.ascontiguousarray(image, np.int8).tobytes()
        if len(data) != hello.rows * hello.row_bytes:
            raise ThumbnetError(
                f"the board runs {hello.name}, whose input has {hello.rows * hello.row_bytes} "
                f"bytes; the image has {len(data)}: flash this model first"
            )
        self._request(Request.BEGIN)
        for row in range(hello.rows):
            self._send_row(row, data[row * hello.row_bytes : (row + 1) * hello.row_bytes])
        stack, cycles = _FINISHED.unpack(self._request(Request.FINISH))
        crcs = self._numbers(Request.LAYER_CRCS, hello.layers) if hello.has_layer_crcs else None
        stage_cycles = self._numbers(Request.STAGE_CYCLES, hello.stages)
        output = np.frombuffer(self._list(Request.OUTPUT, hello.output_bytes, 1), np.int8)
        return DeviceRun(output, stack, cycles, stage_cycles, crcs)

    def _say_hello(self) -> Hello:
        payload = self._request(Request.HELLO, patience=_HELLO_PATIENCE)
        if len(payload) < _HELLO.size:
            raise ThumbnetError("the firmware's greeting is too short; flash it again")
        flags, clock, arena, rows, row, output, layers, stages, stack = _HELLO.unpack_from(payload)
        name = payload[_HELLO.size :].decode("ascii", "replace")
        crcs = bool(flags & _HAS_LAYER_CRCS)
        return Hello(crcs, clock, arena, rows, row, output, layers, stages, stack, name)

    def _send_row(self, row: int, data: bytes) -> None:
        offset = 0
        while offset < len(data):
            piece = data[offset : offset + self._piece]
            self._request(Request.ROW, _ROW.pack(row, offset) + piece)
            offset += len(piece)

    def _numbers(self, code: Request, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self._list(code, count, 4))

    def _list(self, code: Request, count: int, size: int) -> bytes:
        data = b""
        while len(data) < count * size:
            first = len(data) // size
            wanted = min(count - first, self._piece // size)
            part = self._request(code, _LIST.pack(first, wanted))
            if len(part) != wanted * size:
                raise ThumbnetError("the firmware's answer has the wrong length; flash it again")
            data += part
        return data

    def _request(self, code: Request, payload: bytes = b"", patience: float | None = None) -> bytes:
        """Sends a request until its answer comes; gives the payload of the answer."""
        self._sequence = (self._sequence + 1) & 0xFF
        request = Frame(self._sequence, code, payload)
        wait, self._heard = _FIRST_WAIT, time.monotonic()
        for attempt in range(_ATTEMPTS):
            if attempt:
                self.resent += 1
                self._piece = max(_SMALLEST_PIECE, self._piece * 3 // 4)
            self._line.write(request.encode())
            reply = self._reply_to(request, wait)
            if reply:
                self._piece = min(_PIECE, self._piece + _PIECE_GROWS)
                return reply.payload
            if time.monotonic() - self._heard > (patience or self._patience):
                break
            wait = min(_LONGEST_WAIT, wait * 2)
        raise ThumbnetError(
            "the board does not answer; is the firmware `serial` on it (thumbnet flash), "
            "and is this the right port and speed?"
        )

    def _reply_to(self, request: Frame, wait: float) -> Frame | None:
        """The answer, or None when the request should be sent again."""
        heard, damaged = False, self._decoder.damaged
        while True:
            data = self._line.read(_SILENCE if heard else wait)
            if not data:
                self._decoder.silence()
                return None
            heard, self._heard = True, time.monotonic()
            for frame in self._decoder.feed(data):
                heard = False  # what follows, if anything, is another frame
                if frame.version != VERSION:
                    raise ThumbnetError(
                        f"the firmware speaks version {frame.version} of the protocol and this "
                        f"thumbnet version {VERSION}; flash the firmware again"
                    )
                if frame.code == _NOT_UNDERSTOOD:
                    return None
                if frame.sequence == request.sequence and frame.code == _REFUSED:
                    why = frame.payload.decode("ascii", "replace")
                    raise ThumbnetError(f"the firmware refuses a request: {why}")
                if frame.sequence == request.sequence and frame.code == request.code | REPLY:
                    return frame
            self._check_fault()
            if self._decoder.damaged > damaged:
                return None

    def _check_fault(self) -> None:
        # The text of a fault begins no frame, so it is noise.
        fault = _FAULT.search(self._decoder.noise)
        if fault:
            fields = fault[1].decode("ascii", "replace")
            raise ThumbnetError(f"the program ended with a fault: {self._explain_fault(fields)}")
