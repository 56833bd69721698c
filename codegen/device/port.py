"""A serial port of this computer, or a pseudo-terminal: what ``/dev/ttyACM0`` names."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
import time
from types import TracebackType
from typing import Protocol

from codegen.errors import ThumbnetError

_CHUNK = 4096
_WRITE_TIMEOUT = 10.0
_ADVICE = {
    errno.ENOENT: "is the board plugged in? `ls /dev/ttyACM* /dev/ttyUSB*` lists what there is",
    errno.EACCES: "add yourself to its group: sudo usermod -a -G dialout $USER, and log in again",
    errno.EBUSY: "close the other program that uses it",
}


class Line(Protocol):
    """Two directions of bytes."""

    def read(self, timeout: float) -> bytes:
        """Bytes that have come, at least one; none when ``timeout`` seconds passed silently."""

    def write(self, data: bytes) -> None:
        """Sends bytes."""


class SerialPort:
    """An open serial port: 8 data bits, no parity, no flow control."""

    def __init__(self, path: str, baud: int = 115200) -> None:
        """Opens and configures the port, and throws away what had come before.

        Args:
            path: Of the device, for example ``/dev/ttyACM0``.
            baud: Bits a second.

        Raises:
            ThumbnetError: It does not exist, may not be opened, is in use, is no serial port, or
                does not know the speed.
        """
        self.path = path
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise ThumbnetError(f"{path}: this computer knows no speed of {baud} baud")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise _explained(path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _make_raw(self._file, speed)
        except BlockingIOError as error:
            os.close(self._file)
            raise _explained(path, OSError(errno.EBUSY, "is in use")) from error
        except (OSError, termios.error) as error:
            os.close(self._file)
            raise ThumbnetError(f"{path} is no serial port ({error.args[-1]})") from error

    def __enter__(self) -> SerialPort:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def read(self, timeout: float) -> bytes:
        """Bytes that have come, at least one; none when ``timeout`` seconds passed silently.

        Raises:
            ThumbnetError: The port is gone.
        """
        ready, _, _ = select.select([self._file], [], [], timeout)
        if not ready:
            return b""
        try:
            data = os.read(self._file, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone() from error
        if not data:
            raise self._gone()
        return data

    def write(self, data: bytes) -> None:
        """Sends bytes.

        Raises:
            ThumbnetError: The port is gone, or takes nothing any more.
        """
        end = time.monotonic() + _WRITE_TIMEOUT
        while data:
            _, ready, _ = select.select([], [self._file], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise ThumbnetError(f"{self.path} takes no more bytes; is the board still there?")
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone() from error

    def _gone(self) -> ThumbnetError:
        return ThumbnetError(f"{self.path} was closed at its other end; is the board plugged in?")


def _make_raw(file: int, speed: int) -> None:
    control = termios.CS8 | termios.CREAD | termios.CLOCAL
    special = termios.tcgetattr(file)[6]
    special[termios.VMIN], special[termios.VTIME] = 0, 0
    termios.tcsetattr(file, termios.TCSANOW, [0, 0, control, 0, speed, speed, special])
    termios.tcflush(file, termios.TCIOFLUSH)


def _explained(path: str, error: OSError) -> ThumbnetError:
    advice = _ADVICE.get(error.errno or 0)
    return ThumbnetError(f"{path}: {error.strerror}" + (f"; {advice}" if advice else ""))
