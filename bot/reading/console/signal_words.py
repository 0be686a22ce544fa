"""The words for signals in every language of the C library (glibc 2.36) and of bash (5.2), and those of other shells.

Words are parted by bars. A core dump and a number are told behind them.
"""

from __future__ import annotations

from typing import Final

ALONE: Final = {
    "SIGKILL": (
        "Killed|Getötet|Processus arrêté|Processus tué|Tué|Terminado (killed)|Matado|Ucciso|Morto|Geëlimineerd|Gedood"
        "|Unicestwiony|Zabity|Убито|Убит|Вбито|Знищено|Zabit|Zabitý|已杀死|已殺死|已砍掉|砍掉|强制终止|強制終了"
        "|죽었음|죽임|Öldürüldü|Süreç durduruldu|Dödad|Dræbt|Tapettu|Drept|Kilőve|Kilőtték|Σκοτώθηκε|Mort|Omorât"
        "|Bị giết|Đã giết|Terbunuh|Dimatikan|Dibunuh|Ubijen|Убијен|Забіты|Безусловно прекъснат|Matat|Zabit (SIGKILL)"
        "|Slået ihjel|Abgebrochen (Killed)|Maraithe|Nutraukta (killed)|Morto (Killed)|Вбитий|Bị buộc kết thúc"
        "|強制結束"
    ),
    "SIGSEGV": (
        "Segmentation fault|Memory fault|Speicherzugriffsfehler|Erreur de segmentation|Violación de segmento"
        "|Fallo de segmentación|Errore di segmentazione|Falha de segmentação|Segmentatiefout"
        "|Naruszenie ochrony pamięci|Błąd segmentacji|Ошибка сегментирования|Ошибка сегментации|Помилка адресування"
        "|Neoprávněný přístup do paměti|段错误|記憶體區段錯誤|程式記憶體區段錯誤|区段错误|セグメンテーション違反"
        "|セグメンテーションフォルト|セグメントエラー|세그멘테이션 오류|세그먼트 오류|세그멘테이션 폴트"
        "|Parçalama arızası|Bölümleme hatası|Segmenteringsfel|Segmentfejl|Lagersegmentfejl|Muistialueen ylitys"
        "|Segmenteringsfeil|Szegmenshiba|Szegmentálási hiba|Σφάλμα κατάτμησης|Violació de segment|Lỗi phân đoạn"
        "|Збой сэгмэнтацыі|Грешка в разделянето|Нарушение на разделянето(segfault)|Chyba segmentace"
        "|Neoprávněný přístup do paměti (SIGSEGV)|Segmenteringsfejl|Adressierungsfehler"
        "|Σφάλμα κατάτμησης (segmentation fault)|Adreseraro|Adres-eraro|Fabht deighilte|Fallo de segmento"
        "|Segmentacijska greška|Kesalahan segmentasi|Kerusakan segmentasi|세그먼테이션 오류|Segmentacijos klaida"
        "|Segmentavimo klaida|Minnesegmentsfeil|Falta de segmentação|Eroare de segmentare|Chyba segmentácie"
        "|Napaka segmentacije|Неуспех сегментације|Bölünme hatası"
    ),
    "SIGBUS": (
        "Bus error|Bus-Zugriffsfehler|Busfehler|Erreur du bus|Erreur de bus|Error de bus|Error del bus|Errore di bus"
        "|Erro de barramento|Busfout|Błąd szyny|Ошибка шины|总线错误|匯流排錯誤|バスエラー|버스 오류|Bussfel"
        "|Памылка шыны|Грешка в шината|Грешка на адресната шина|Chyba sběrnice"
        "|Chyba na sběrnici (neplatná adresa) (SIGBUS)|Bus-fejl|Busfejl|Bus-Fehler|Σφάλμα στον δίαυλο(bus)|Bus-eraro"
        "|Väylävirhe|Earráid bhus|Erro no bus|Erro no bus de datos|Greška sabirnice|Sabirnička greška|Buszhiba"
        "|Busz hiba|Magistralės klaida|Bussfeil|Erro de bus|Erro do barramento|Erro no barramento"
        "|Eroare de magistrală de date(bus)|chyba zbernice|Chyba na zbernici|Napaka vodila|Грешка сабирнице"
        "|Veriyolu hatası|Veri yolu hatası|Помилка шини|Помилка каналу обміну даними|Lỗi bus"
    ),
    "SIGUSR1": "User defined signal 1|Benutzerdefiniertes Signal 1|Signal #1 défini par l'usager|用户定义信号 1",
    "SIGUSR2": "User defined signal 2|Benutzerdefiniertes Signal 2|Signal #2 défini par l'usager|用户定义信号 2",
    "SIGABRT": "Aborted|Abort trap|Аварийный останов|已放弃|已中止|アボートしました",
    "SIGFPE": (
        "Floating point exception|Floating-point exception|Arithmetic exception|Gleitkomma-Ausnahme"
        "|Exception en point flottant|Excepción de coma flotante|Eccezione in virgola mobile|浮点数例外|浮点异常"
        "|浮動小数点例外|Выключэньне плыўной коскі|Изключение от плаваща запетая|Изключение при плаваща запетая"
        "|Excepció de coma flotant|Výjimka při práci s pohyblivou řádovou čárkou"
        "|Výjimka v pohyblivé řádové čárce (SIGFPE)|Kommatalsundtagelse|Undtagelsestilfælde ved flydende taloperation"
        "|Gleitkommafehler|Εξαίρεση κινητής υποδιαστολής|Glitpunkta escepto|Glitkomkalkul-eraro|Liukulukupoikkeus"
        "|Exception en virgule flottante|Eisceacht snámhphointe|Excepción de coma frotante"
        "|Iznimka (broja) s pomičnim zarezom|Iznimka (broja) pomičnog zareza|Lebegőpontos kivétel"
        "|Eksepsi titik pecahan|부동 소수점 예외|Slankaus kablelio klaida|Flyttallsfeil"
        "|Unntakstilfelle ved flyttallsoperasjon|Drijvendekomma-berekeningsfout"
        "|Błąd w obliczeniach zmiennoprzecinkowych|Excepção de vírgula flutuante|Exceção de ponto flutuante"
        "|Excepție de virgulă mobilă|Исключение при обработке чисел с плавающей точкой"
        "|Исключение в операции с плавающей точкой|Výnimka pri operácii s plávajúcou desatinnou čiarkou"
        "|Výnimka pohyblivej rádovej čiarky|Izjema s plavajočo vejico|Prekoračitev plavajoče vejice"
        "|Изузетак покретног зареза|Flyttalsfel|Kayan nokta istisnası|Gerçel sayı istisnası"
        "|Помилка обчислень з рухомою комою|Lỗi dấu chấm động|Ngoại lệ dấu chấm động|期望浮點數|浮點數例外"
    ),
    "SIGILL": (
        "Illegal instruction|Illegal hardware instruction|Ungültiger Maschinenbefehl|Instruction non permise"
        "|Instruction illégale|Instrucción ilegal|Istruzione non consentita|Недопустимая инструкция|非法指令"
        "|不正な命令です|Недапушчальнае прадпісаньне|Неправилна инструкция|Незаконна инструкция|Instrucció il·legal"
        "|La instrucció no és permesa|Neplatná instrukce|Nedovolená instrukce (SIGILL)|Ugyldig instruktion"
        "|Ulovlig instruktion (SIGILL)|Ungültige Anweisung|Μη έγκυρη οδηγία|Ακατάλληλη εντολή|Miskomando"
        "|Virheellinen käsky|Instruction incorrecte|Treoir mídhleathach|Instrución ilegal|Instrucción non permitida"
        "|Nedopuštena instrukcija|Nepropisna instrukcija|Érvénytelen utasítás|Instruksi ilegal|Instruksi tidak legal"
        "|不正な指定|부적절한 명령|명령어가 잘못됨|Netaisyklinga instrukcija|Ugyldig instruks"
        "|Ulovlig instruksjon (SIGILL)|Ongeldige instructie|Niedozwolona instrukcja|Błędna instrukcja"
        "|Instrução ilegal|Instrucțiune ilegală|Neplatná inštrukcia|Neprípustná inštrukcia|Neveljaven ukaz"
        "|Nedovoljen ukaz|Неисправна инструкција|Otillåten instruktion|Geçersiz talimat|Yönerge kuraldışı"
        "|Помилкова інструкція|Câu lệnh không được phép|Chỉ lệnh không hợp lệ|無效指令"
    ),
    "SIGTRAP": (
        "Trace/breakpoint trap|Trace/BPT trap|Trace trap|Прихващане на трасиране/точка на прекъсване"
        "|Trampa de traçat/punt d’aturada|Trasovací/ladící past (SIGTRAP)|Sporings-/stoppunkts-fælde"
        "|Trace/Breakpoint ausgelöst|Παγίδα Trace/breakpoint|Spurumo-/romppunkto-komando"
        "|`trap' para punto de parada/seguimiento|Jäljitys/katkaisupisteansa|Trappe pour point d'arrêt et de trace"
        "|Trampa de seguemento/punto de ruptura|Trace/breakpoint (SIGTRAP)|Nyomkövetési/töréspont csapda"
        "|Jejak/titik-putus jebakan|Rilevato trace/breakpoint|추적/중단점 함정|Sporings-/stoppunkts-felle"
        "|Traceer/breekpunt-instructie|Pułapka debuggera/breakpoint|Armadilha de rastreio/ponto de quebra"
        "|Ловушка трассировки/останова|Trasovacie/ladiace prerušenie|Замка праћења/тачке прекида|Spårningsfälla"
        "|İzleme/kesme noktası yakalayıcı|Переривання на точці зупину|Bẫy vết/điểm ngắt|追踪与中断点陷阱"
        "|追蹤 / 斷點陷阱"
    ),
    "SIGSYS": (
        "Bad system call|Дрэнны сыстэмны выклік|Грешно системно извикване|Неправилно системно извикване"
        "|Crida de sistema errònia|La crida al sistema no és vàlida|Špatné volání systému"
        "|Chybné volání systému (SIGSYS)|Ugyldigt systemkald|Falscher Systemaufruf|Ungültiger Betriebssystemaufruf"
        "|Κακή κλήση συστήματος|Εσφαλμένη κλήση συστήματος|Misa sistemvoko|Llamada al sistema errónea"
        "|Virheellinen järjestelmäkutsu|Mauvais appel système|Appel système erroné|Droch-ghlaoch córais"
        "|Chamada ao sistema errónea|Chamada ao sistema incorrecta|Loš sustavski poziv|Loši sustavski poziv"
        "|Rossz rendszerhívás|Hibás rendszerhívás|Pemanggilan sistem buruk|Chiamata di sistema errata"
        "|誤ったシステムコール|間違ったシステムコール|잘못된 시스템 콜|시스템 콜이 잘못됨|Blogas sisteminis kvietimas"
        "|Ugyldig systemkall|Onjuiste systeemaanroep|Błędne wywołanie systemowe|Chamada de sistema errada"
        "|Má chamada de sistema|Chamada incorreta do sistema|Chamada de sistema inválida|Apel de sistem incorect"
        "|Неверный системный вызов|Chybné systémové volanie|Chybné volanie systému|Slab sistemski klic"
        "|Лош системски позив|Felaktigt systemanrop|Bozuk sistem çağırımı|Sistem çağrısı hatalı"
        "|Помилковий системний виклик|Lỗi lệnh gọi hệ thống|Cuộc gọi hệ thống sai|错误的系统调用|無效系統呼叫"
    ),
    "SIGXCPU": (
        "CPU time limit exceeded|Cputime limit exceeded|超出 CPU 时限|вычарпана абмежаваньне на час ЦП"
        "|Превишено време за използване на ЦПУ|S’ha excedit el temps límit de CPU"
        "|Překročen časový limit pro procesor (SIGXCPU)|Begrænsning af CPU-tid overskredet"
        "|Rechenzeitbegrenzung überschritten|Ξεπεράστηκε το όριο χρόνου της CPU|Limo de procesortempo transpasiĝis"
        "|Rebasado el límite de tiempo de CPU|Suoritinaikaraja ylittynyt|Temps UCT limite expiré"
        "|Límite de tempo de CPU superado|Prekoračeno je vremensko ograničenje procesora|CPU-időkorlát túllépve"
        "|batas waktu CPU terlampaui|Superato il limite di tempo CPU|CPU時間制限を超過しました|CPU 시간 제한 초과함"
        "|Viršyta CPU laiko riba|Begrensning av CPU-tid overskredet|Limiet op processortijd is overschreden"
        "|Przekroczony limit czasu procesora|Excedido limite de tempo da CPU|Tempo de CPU excedido"
        "|Превышен лимит процессорного времени|Prekročený časový limit pre procesor"
        "|Presežena omejitev procesorskega časa|Прекорачено је временско ограничење процесора"
        "|Begränsning av CPU-tid överskriden|CPU zaman sınırı aşıldı|Перевищено обмеження часу використання процесора"
        "|Vượt quá giới hạn thời gian CPU|到達 CPU 時間上限"
    ),
    "SIGXFSZ": (
        "File size limit exceeded|Filesize limit exceeded|Вычарпана абмежаваньне на памер файла"
        "|Надвишено ограничение за размер на файл|S’ha excedit la mida màxima de fitxer"
        "|Překročen limit délky souboru (SIGXFS2)|Grænse for filstørrelse overskredet"
        "|Die maximale Dateigröße ist überschritten|Ξεπεράστηκε το όριο μεγέθους αρχείου"
        "|Limo de dosiergrando transpasiĝis|Superado el límite de tamaño de fichero|Tiedoston kokoraja ylitetty"
        "|Débordement de la taille permise pour un fichier|Límite de tamaño de ficheiro superado"
        "|Prekoračeno ograničenje veličine datoteke|Fájlméretkorlát túllépve|Batas ukuran berkas terlampaui"
        "|Superato il limite di dimensione file|ファイルサイズ制限を超過しました|파일 크기 제한을 초과함"
        "|Viršyta failo dydžio riba|Grense for filstørrelse overskredet|Limiet op bestandsgrootte is overschreden"
        "|Przekroczony limit wielkości pliku|Excedido limite de tamanho do ficheiro"
        "|Excedido tamanho limite de arquivo|Превышен лимит размера файла|Prekročený limit dĺžky súboru"
        "|Presežena omejitev dolžine datoteke|Прекорачено је ограничење величине датотеке"
        "|Begränsning av filstorlek överskriden|Dosya uzunluğu sınırı aşıldı|Перевищено обмеження на розмір файла"
        "|Vượt quá giới hạn kích cỡ tập tin|文件大小超出限制|到達檔案大小上限"
    ),
    "SIGALRM": "Alarm clock",
    "SIGTERM": "Terminated|Beendet|已终止|已終止",
    "SIGHUP": "Hangup|Aufgelegt|Fin de la connexion (raccroché)|挂断|Обрыв терминальной линии",
}
"""Nothing else says these alone on a line of a training that is not complete."""
IN_A_SHAPE: Final = {
    "SIGKILL": "Murdu|Buĉita|Uničen|Pobit",
    "SIGABRT": (
        "Abort|Abgebrochen|Abbruch|Annulé|Abandon|Abortado|Annullato|Geannuleerd|Przerwane|放弃|中止|중단됨|Avbruten"
        "|Durduruldu|Прекъснат|Avortat|Neúspěšně ukončen (SIGABRT)|Afbrudt (SIGABRT)|Ακυρώθηκε|Abortita|Keskeytetty"
        "|Prekid|Félbeszakítva|Dibatalkan|중지됨|Nutraukta (aborted)|Avbrutt (SIGABRT)|Afgebroken|Zrušené|Prekinjen"
        "|Прекинуто|Avbruten (SIGABRT)|İptal edildi|Перервано|Bị hủy bỏ"
    ),
    "SIGTRAP": "Past",
    "SIGALRM": (
        "Аларма|Будилник|Alarma|Temporitzador|Signál časovače|Budík (SIGALRM)|Alarmklokke|Wecker"
        "|Das Signal SIGALRM empfangen (Der Wecker klingelt)|Ρολόι συναγερμού|Ξυπνητήρι|Vekhorloĝo"
        "|Temporizador|Herätyskello|Horloge d'alarme|Minuterie d'alerte|Clog aláraim|Budilica|Ébresztés"
        "|Időzítő óra|Jam alarm|Sveglia|アラーム時計|알림 시계|자명종 시계|Žadintuvas|Alarmen gikk|Wekker|Timersignaal"
        "|Budzik|Alarme|Relógio de alarme|Alarme de tempo|Ceas cu alarmă|Сигнал часов|Сигнал таймера|Budík"
        "|Budilka|Аларм|Alarmklocka|Çalar saat|Alarm saati|Таймер|Đồng hồ báo thức|Đồng hồ báo động|闹钟|鬧鐘"
    ),
    "SIGTERM": (
        "Beendet|Complété|Terminé|Terminado|Terminato|Beëindigd|Zakończony|Завершено|Завершён|已终止|终止|已終止"
        "|終了しました|終了|종료됨|Sonlandırıldı|Avslutad|Ukončen|Завершаны|Прекратен|Finalitzat|Terminat|Ukončit"
        "|Ukončen (SIGTERM)|Afsluttet|Termineret|Abgebrochen (Terminated)|Τερματισμός|Τερματίστηκε|Finiĝu|Ĉesigita"
        "|Päätetty|Críochnaithe|Rematado|Završeno|Befejezve|Befejeződött|Selesai|Terakhiri|Nutraukta"
        "|Užbaigta (terminated)|Avsluttet|Terminert|Прерван|Ukončené|Zaključen|Окончано|Avslutat|Припинено"
        "|Bị chấm dứt|Đã kết thúc|終止"
    ),
    "SIGINT": (
        "Interrupt|Keyboard interrupt|Unterbrechung|Unterbrochen|Interruption|Interrompu|Interrompre|Interrupción"
        "|Interruzione|Interrupção|Interromper|Onderbroken|Przerwanie|Прерывание|Прервано|中断|中斷|割り込み|인터럽트"
        "|Avbrott|Прыпыненьне|Прекъсване|Interrupció|Interromput|Přerušení|Přerušení (SIGINT)|Afbryd|Afbrudt"
        "|Unterbrochen (Interrupt)|Διακοπή|Interrompo|Interrumpir|Keskeytys|Interrompt|Idirbhriseadh|Prekini"
        "|Megszakítás|Félbeszakítás|Interupsi|Pertraukimas|Forstyrr|Avbrutt|Întrerupere|Hagarikira aho|Prerušenie"
        "|Prekinitev|Прекини|Avbruten (SIGINT)|Kes|Sistem kesmesi|Переривання|Перервати|Ngắt"
    ),
    "SIGHUP": (
        "Aufgelegt|Fin de la connexion (raccroché)|Colgar|挂起|挂断|ハングアップ|Обрыв терминальной линии"
        "|Вызваленьне лініі|Прекъсване на връзката|Затворено|Desconnexió|Penjat|Linka terminálu zavěšena"
        "|Odpojen terminál (SIGHUP)|Læg på|Læg på (SIGHUP)|Κλείσιμο|Malkonekto|Colgar (hangup)|Linjankatkaisu"
        "|Raccroche|Crochadh|Poklopi|Terminal zatvoren|Bontás|Fennakadás|Memutuskan|Chiusura|停止|수행 중단(Hangup)"
        "|끊어짐|Legg på|Legg på (SIGHUP)|Opgehangen|Rozłączenie|Desligar|Desconexão"
        "|Deconectare/Terminare anormală(Hangup)|Отбой|Zavesenie|Odloži|Odklop|Обустави|Avringd|Engelle|Tıkanma"
        "|Зависання|Від’єднання|Treo|Tạm dừng|掛斷"
    ),
    "SIGQUIT": (
        "Quit|Выхад|Спиране|Излизане|Sortida|Eixit|Ukončení|Konec (SIGQUIT)|Afslut|Verlassen|Έξοδος|Klavara eliro"
        "|Forlasigo|Salir|Abandona|Lopetettu|Quitte|Quitter|Scoir|Saír|Abandoar|Završi|Abbahagyás|Kilépés|Berhenti"
        "|Uscita (con core dump)|Uscita|나가기|끝내기|Išeita (quit)|Avslutt|Afgesloten|Wyjście|Sair|Părăsire|Выход"
        "|Kuvamo|Ukončenie|Koniec|Končaj|Končanje|Изађи|Lämnad|Çık|Вихід|Thoát|退出|結束"
    ),
}
"""Common words, which a script may well print when all is well: only where a shell's own shape is around them."""
