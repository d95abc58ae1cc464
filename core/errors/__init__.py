"""The errors that can stop a request or a job, as one tree.

    PerennialError
    ├── Invalid              the request itself is wrong                      422
    │   ├── Malformed        it cannot even be parsed                         400
    │   ├── Unsupported      a kind of content that is not accepted           415
    │   └── TooLarge         over a limit                                     413
    ├── NotFound             no such thing                                    404
    ├── Conflict             valid request, but the state does not allow it   409
    │   └── Gone             it existed, but its bytes have been deleted      410
    ├── RequestTimeout       the caller stopped in the middle of a request    408
    ├── TooManyRequests      over a rate, or too many jobs are waiting        429
    ├── PreconditionFailed   the resource changed after the caller read it    412
    ├── PreconditionRequired the caller must send If-Match or If-None-Match   428
    ├── Unauthorised / Forbidden / NotAcceptable                              401 / 403 / 406
    ├── RangeNotSatisfiable  bytes beyond the end                             416
    ├── Unavailable          it may work later                                503
    ├── Corrupt              stored bytes do not match their digest           500
    └── Interruption         a job must stop now, without having failed

A leaf's name in snake case is its stable code; its docstring is its default message.
"""

from core.errors.conflict import *
from core.errors.content import *
from core.errors.full_disk import *
from core.errors.invalid import *
from core.errors.not_found import *
from core.errors.request import *
from core.errors.root import *
from core.errors.service import *
from core.errors.training import *
